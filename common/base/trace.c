#include "common/base/trace.h"

#include "common/base/attr.h"
#include "common/base/clock.h"

#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/random.h>

#define TP_LEN   55
#define TP_TRACE 3
#define TP_FLAGS 53

/* Set while there is one thread, as the log's writer. */
static struct {
	_Atomic(trace_listener_fn *) fn;
	void *arg;
} listener;

/* --- traceparent ------------------------------------------------------------ */

static bool hex_digit(char c, uint64_t *out)
{
	if (c >= '0' && c <= '9')
		*out = (uint64_t)(c - '0');
	else if (c >= 'a' && c <= 'f')
		*out = (uint64_t)(c - 'a' + 10);
	else
		return false;
	return true;
}

static bool hex(const char *p, size_t n, uint64_t *out)
{
	uint64_t v = 0, digit = 0;

	for (size_t i = 0; i < n; i++) {
		if (!hex_digit(p[i], &digit))
			return false;
		v = v << 4 | digit;
	}
	*out = v;
	return true;
}

bool trace_parse(struct str s, struct trace_parent *out)
{
	struct trace_parent t;
	uint64_t version, flags;

	if (s.n < TP_LEN || s.p[2] != '-' || s.p[TRACE_SPAN_AT - 1] != '-' ||
	    s.p[TP_FLAGS - 1] != '-' || !hex(s.p, 2, &version) ||
	    !hex(s.p + TP_TRACE, 16, &t.id[0]) ||
	    !hex(s.p + TP_TRACE + 16, 16, &t.id[1]) ||
	    !hex(s.p + TRACE_SPAN_AT, 16, &t.span) ||
	    !hex(s.p + TP_FLAGS, 2, &flags))
		return false;
	if (version == 0xff || (t.id[0] | t.id[1]) == 0 || t.span == 0)
		return false;
	if (s.n > TP_LEN && (version == 0 || s.p[TP_LEN] != '-'))
		return false;
	t.sampled = flags & 1;
	*out = t;
	return true;
}

static char *put_hex(char *at, uint64_t v)
{
	static const char digits[] = "0123456789abcdef";

	for (int shift = 60; shift >= 0; shift -= 4)
		*at++ = digits[v >> shift & 15];
	return at;
}

void trace_put_span(uint64_t id, char *out)
{
	(void)put_hex(out, id);
}

struct str trace_write(const struct trace_parent *p, char out[TRACE_PARENT_MAX])
{
	char *at = out;

	memcpy(at, "00-", 3);
	at = put_hex(at + 3, p->id[0]);
	at = put_hex(at, p->id[1]);
	*at++ = '-';
	at = put_hex(at, p->span);
	memcpy(at, p->sampled ? "-01" : "-00", 4); /* and the NUL */
	return (struct str){out, TP_LEN};
}

struct str trace_id_of(struct str tp)
{
	return tp.n < TP_LEN ? (struct str){NULL, 0}
	                     : (struct str){tp.p + TP_TRACE, 32};
}

uint64_t trace_new_id(void)
{
	uint64_t id = 0;

	/* Without random bytes the time tells spans apart well enough. */
	if (getrandom(&id, sizeof(id), 0) != sizeof(id))
		id = mono_us();
	return id ? id : 1;
}

/* --- who is sampled ----------------------------------------------------------- */

static bool ratio(struct str arg, uint64_t *below)
{
	char text[32], *end;
	double v;

	if (arg.n == 0) {
		*below = (uint64_t)1 << 63;
		return true;
	}
	if (arg.n >= sizeof(text))
		return false;
	memcpy(text, arg.p, arg.n);
	text[arg.n] = '\0';
	errno = 0;
	v = strtod(text, &end);
	if (*end || end == text || errno == EINVAL || !(v >= 0 && v <= 1))
		return false;
	*below = (uint64_t)ldexp(v, 63);
	return true;
}

bool sampler_parse(struct str name, struct str arg, struct sampler *out)
{
	static const struct {
		struct str name;
		bool ratio;
		uint64_t below;
	} rows[] = {
		{STR("always_on"), false, (uint64_t)1 << 63},
		{STR("always_off"), false, 0},
		{STR("traceidratio"), true, 0},
	};
	const struct str prefix = STR("parentbased_");
	struct sampler s = {.parent_based = str_starts(name, prefix)};

	if (s.parent_based)
		name = (struct str){name.p + prefix.n, name.n - prefix.n};
	for (size_t i = 0; i < COUNTOF(rows); i++) {
		if (!str_eq(rows[i].name, name))
			continue;
		s.below = rows[i].below;
		if (rows[i].ratio && !ratio(arg, &s.below))
			return false;
		*out = s;
		return true;
	}
	return false;
}

bool sampler_takes(const struct sampler *s, const struct trace_parent *from,
                   uint64_t id_low)
{
	if (from && s->parent_based)
		return from->sampled;
	return id_low >> 1 < s->below;
}

/* --- spans ---------------------------------------------------------------------- */

void trace_listen(trace_listener_fn *fn, void *arg)
{
	listener.arg = arg;
	atomic_store(&listener.fn, fn);
}

bool trace_heard(void)
{
	return atomic_load_explicit(&listener.fn, memory_order_relaxed) != NULL;
}

static void begin(struct span *s, uint64_t parent, const char *service,
                  enum span_kind kind, struct str name)
{
	s->own.span = trace_new_id();
	s->parent = parent;
	s->service = service;
	s->kind = kind;
	s->failed = false;
	s->attrs_n = 0;
	s->start_us = mono_us();
	s->end_us = 0;
	span_name(s, name);
}

void span_root(struct span *s, const struct trace_parent *from,
               const char *service, enum span_kind kind, struct str name)
{
	s->own = *from;
	begin(s, from->span, service, kind, name);
}

void span_child(struct span *s, const struct span *parent, enum span_kind kind,
                struct str name)
{
	s->own = parent->own;
	begin(s, parent->own.span, parent->service, kind, name);
}

void span_name(struct span *s, struct str name)
{
	s->name_n = (unsigned)(name.n < SPAN_TEXT_MAX ? name.n : SPAN_TEXT_MAX);
	if (s->name_n)
		memcpy(s->text, name.p, s->name_n);
	s->text_n = s->name_n;
}

struct str span_name_of(const struct span *s)
{
	return (struct str){s->text, s->name_n};
}

static struct span_attr *add(struct span *s, const char *key)
{
	struct span_attr *a;

	if (s->attrs_n == SPAN_ATTRS_MAX)
		return NULL;
	a = &s->attrs[s->attrs_n++];
	*a = (struct span_attr){.key = key};
	return a;
}

void span_text(struct span *s, const char *key, struct str value)
{
	struct span_attr *a;

	/* Half a value would be another one. */
	if (value.n > SPAN_TEXT_MAX - s->text_n)
		return;
	a = add(s, key);
	if (!a)
		return;
	a->at = s->text_n;
	a->n = (unsigned)value.n;
	if (value.n)
		memcpy(s->text + s->text_n, value.p, value.n);
	s->text_n += a->n;
}

void span_number(struct span *s, const char *key, int64_t value)
{
	struct span_attr *a = add(s, key);

	if (!a)
		return;
	a->number = true;
	a->i = value;
}

void span_fail(struct span *s, const char *error_type)
{
	s->failed = true;
	span_text(s, "error.type", str_from(error_type));
}

void span_end_at(struct span *s, uint64_t end_us)
{
	trace_listener_fn *fn = atomic_load(&listener.fn);

	s->end_us = end_us;
	if (fn)
		fn(listener.arg, s);
}

void span_end(struct span *s)
{
	span_end_at(s, mono_us());
}

struct str span_tp(const struct span *s, char out[TRACE_PARENT_MAX])
{
	return trace_write(&s->own, out);
}
