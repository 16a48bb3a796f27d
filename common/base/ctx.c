#include "common/base/ctx.h"

#include <stdarg.h>
#include <stdio.h>

static const char *const roles[] = {
	[ROLE_GUEST] = "guest",
	[ROLE_USER] = "user",
	[ROLE_ADMIN] = "admin",
	[ROLE_SERVICE] = "service",
};

static const char *const tiers[] = {
	[TIER_LIMITED] = "limited",     [TIER_FREE] = "free",
	[TIER_BASIC] = "basic",         [TIER_PREMIUM] = "premium",
	[TIER_UNLIMITED] = "unlimited",
};

static const struct {
	uint32_t bit;
	const char *name;
} scopes[] = {
	{SCOPE_READ, "read"},
	{SCOPE_WRITE, "write"},
	{SCOPE_GENERATE, "generate"},
	{SCOPE_ADMIN, "admin"},
};

static bool find(const char *const *names, size_t n, struct str s, size_t *at)
{
	for (size_t i = 0; i < n; i++) {
		if (str_eq(str_from(names[i]), s)) {
			*at = i;
			return true;
		}
	}
	return false;
}

const char *role_name(enum role r)
{
	return r < COUNTOF(roles) ? roles[r] : "guest";
}

bool role_from_str(struct str s, enum role *out)
{
	size_t at;

	if (!find(roles, COUNTOF(roles), s, &at))
		return false;
	*out = (enum role)at;
	return true;
}

const char *tier_name(enum tier t)
{
	return t < COUNTOF(tiers) ? tiers[t] : "limited";
}

bool tier_from_str(struct str s, enum tier *out)
{
	size_t at;

	if (!find(tiers, COUNTOF(tiers), s, &at))
		return false;
	*out = (enum tier)at;
	return true;
}

struct str scopes_text(uint32_t bits, char out[40])
{
	size_t n = 0;

	out[0] = '\0';
	for (size_t i = 0; i < COUNTOF(scopes); i++)
		if (bits & scopes[i].bit)
			n += (size_t)snprintf(out + n, 40 - n, "%s%s",
			                      n ? " " : "", scopes[i].name);
	return (struct str){out, n};
}

bool scopes_from_str(struct str text, uint32_t *out)
{
	uint32_t bits = 0;

	while (text.n) {
		struct str name = str_cut(&text, ' ');
		size_t i = 0;

		if (name.n == 0)
			continue;
		while (i < COUNTOF(scopes) &&
		       !str_eq(str_from(scopes[i].name), name))
			i++;
		if (i == COUNTOF(scopes))
			return false;
		bits |= scopes[i].bit;
	}
	*out = bits;
	return true;
}

enum err ctx_fail(struct ctx *cx, enum err code, const char *fmt, ...)
{
	va_list ap;

	cx->problem.code = code;
	va_start(ap, fmt);
	(void)vsnprintf(cx->problem.detail, sizeof(cx->problem.detail), fmt,
	                ap);
	va_end(ap);
	return code;
}

enum err ctx_fault(struct ctx *cx, const char *pointer, const char *code,
                   const char *fmt, ...)
{
	struct problem *pb = &cx->problem;
	struct fault *f;
	va_list ap;

	pb->code = ERR_INVALID;
	if (!pb->faults)
		pb->faults = arena_alloc(cx->arena,
		                         CTX_FAULTS_MAX * sizeof(*pb->faults));
	if (!pb->faults || pb->faults_n == CTX_FAULTS_MAX)
		return ERR_INVALID;
	f = &pb->faults[pb->faults_n++];
	(void)snprintf(f->pointer, sizeof(f->pointer), "%s", pointer);
	f->code = code;
	va_start(ap, fmt);
	(void)vsnprintf(f->message, sizeof(f->message), fmt, ap);
	va_end(ap);
	if (pb->detail[0] == '\0')
		(void)snprintf(pb->detail, sizeof(pb->detail), "%s",
		               f->message);
	return ERR_INVALID;
}
