#include "svc-auth/token.h"

#include "common/base/log.h"
#include "common/base/uuid.h"

#include <errno.h>
#include <jwt.h>
#include <stdio.h>
#include <stdlib.h>

AUTO_TYPE(jwt, jwt_t *, jwt_free)

/* libjwt speaks errno; text grants must be NUL terminated. */
static int add_texts(jwt_t *t, const struct token_claims *c)
{
	char iss[257], aud[257], jti[UUID_MAX], scp[40];
	const struct {
		const char *name, *value;
	} texts[] = {
		{"iss", iss},
		{"aud", aud},
		{"sub", c->sub},
		{"hnd", c->hnd},
		{"sid", c->sid},
		{"jti", jti},
		{"scp", scp},
		{"role", role_name(c->role)},
		{"tier", tier_name(c->tier)},
		{"token_use", "access"},
		{"key", c->key},
	};
	int error = 0;

	(void)snprintf(iss, sizeof(iss), "%.*s", STR_FMT(c->issuer));
	(void)snprintf(aud, sizeof(aud), "%.*s", STR_FMT(c->audience));
	(void)uuid7(jti);
	(void)scopes_text(c->scopes, scp);
	for (size_t i = 0; !error && i < COUNTOF(texts); i++)
		if (texts[i].value)
			error = jwt_add_grant(t, texts[i].name, texts[i].value);
	return error;
}

static int add_times(jwt_t *t, const struct token_claims *c)
{
	int error = jwt_add_grant_int(t, "iat", (long)c->issued_s);

	if (!error)
		error = jwt_add_grant_int(t, "exp", (long)c->expires_s);
	if (!error)
		error = jwt_add_grant_int(t, "auth_time", (long)c->auth_time_s);
	return error;
}

static int build(jwt_t *t, const struct token_claims *c, const char *kid,
                 struct str pem)
{
	int error = jwt_set_alg(t, JWT_ALG_ES256, (const unsigned char *)pem.p,
	                        (int)pem.n);

	if (!error)
		error = jwt_add_header(t, "kid", kid);
	if (!error)
		error = add_texts(t, c);
	if (!error)
		error = add_times(t, c);
	return error;
}

enum err token_issue(const struct token_claims *c, const char *kid,
                     struct str pem, struct buf *out)
{
	AUTO(jwt) t = NULL;
	int error = jwt_new(&t);
	char *text = NULL;

	if (!error)
		error = build(t, c, kid, pem);
	if (!error) {
		text = jwt_encode_str(t);
		error = text ? 0 : errno;
	}
	if (!text) {
		log_error(NULL, "auth.token_failed",
		          LOG_TEXT("error", strerror(error)));
		return error == ENOMEM ? ERR_NOMEM : ERR_INTERNAL;
	}
	buf_str(out, str_from(text));
	free(text);
	return out->failed ? ERR_NOMEM : OK;
}
