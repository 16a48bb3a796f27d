/*
 * factor_fixture - a member with an authenticator app, and what can be asked
 * of svc-auth about that.
 *
 * Header only: each store test is one program.
 */
#ifndef TESTS_STORE_FACTOR_FIXTURE_H
#define TESTS_STORE_FACTOR_FIXTURE_H

#include "svc-auth/factor.h"
#include "tests/store/auth_fixture.h"

#define BOTH(sqlite, postgres) \
	store_exec(fx.pool,    \
	           store_is_postgres(&fx.store) ? (postgres) : (sqlite))
#define CHANGE(table, what) \
	BOTH("UPDATE " table " SET " what, "UPDATE auth." table " SET " what)

/* A member with an authenticator app. */
struct holder {
	struct member m;
	unsigned char secret[TOTP_SECRET];
	char recovery[RECOVERY_CODES][RECOVERY_MAX];
	char sid[UUID_MAX];
};

static inline size_t unbase32(struct str s, unsigned char *out)
{
	uint32_t bits = 0;
	unsigned have = 0;
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		bits = bits << 5 |
		       (uint32_t)(c >= 'A' ? c - 'A' : c - '2' + 26);
		have += 5;
		if (have >= 8) {
			have -= 8;
			out[n++] = (unsigned char)(bits >> have);
		}
	}
	return n;
}

/* The code of the present step, or of the one behind it: both are good also if
 * a step ends meanwhile. */
static inline struct str code_of(const struct holder *h, int64_t ahead,
                                 char out[16])
{
	uint32_t v = 0;

	assert_true(hotp(h->secret, TOTP_SECRET,
	                 (uint64_t)(wall_ms() / TOTP_STEP_MS + ahead),
	                 TOTP_DIGITS, &v));
	(void)snprintf(out, 16, "%06u", v);
	return str_from(out);
}

static inline struct str wrong_code(const struct holder *h, char out[16])
{
	struct str s = code_of(h, 0, out);

	/* Not by chance that of a neighbour, as far as digits can tell. */
	out[0] = (char)('0' + (out[0] - '0' + 5) % 10);
	return s;
}

static inline struct call begin(const struct holder *h)
{
	static const struct auth_factor_add_in in;
	struct call c = call_as(str_from(h->m.sub), h->m.scopes);

	c.cx.hnd = STR("Alice");
	c.cx.sid = str_from(h->sid);
	c.e = method_auth_factor_add(fx.auth, &c.cx, &in, &c.reply);
	return c;
}

static inline struct call confirm(const struct holder *h, struct str code)
{
	const struct auth_factor_confirm_in in = {.code = code,
	                                          .end_other_sessions = true};
	struct call c = call_as(str_from(h->m.sub), h->m.scopes);

	c.cx.sid = str_from(h->sid);
	c.e = method_auth_factor_confirm(fx.auth, &c.cx, &in, &c.reply);
	return c;
}

static inline void take_codes(const struct call *c, struct holder *h)
{
	struct str list, one;
	struct mp m;
	uint32_t n = 0;

	assert_true(mp_find(buf_view(&c->reply.body), "recovery_codes", &list));
	m = mp_open(list);
	assert_true(mp_get_array(&m, &n));
	assert_int_equal(n, RECOVERY_CODES);
	for (uint32_t i = 0; i < n; i++) {
		assert_true(mp_get_str(&m, &one));
		copy(h->recovery[i], RECOVERY_MAX, one);
	}
}

/* The codes of all steps so far may be used again, and nobody has to wait. */
static inline void forgive(void)
{
	CHANGE("totp", "last_step = 0, tries = 0, wait_until = 0");
}

static inline void enrol(const char *handle, struct holder *h)
{
	char code[16];

	join(handle, &h->m);
	{
		AUTO_CALL in = login(str_from(h->m.key));
		struct jwt_claims t;

		assert_int_equal(accepted(fx.auth, text(&in, "token"), &t), OK);
		copy(h->sid, sizeof(h->sid), str_from(t.who.sid));
	}
	{
		AUTO_CALL c = begin(h);

		assert_int_equal(c.e, OK);
		assert_int_equal(unbase32(text(&c, "secret"), h->secret),
		                 TOTP_SECRET);
	}
	{
		AUTO_CALL c = confirm(h, code_of(h, 0, code));

		assert_int_equal(c.e, OK);
		take_codes(&c, h);
	}
	forgive();
}

static inline struct call login_with(const struct auth_login_in *in)
{
	struct call c = call_as((struct str){0}, 0);

	c.cx.ip = STR("203.0.113.7");
	c.e = method_auth_login(fx.auth, &c.cx, in, &c.reply);
	return c;
}

/* Makes the holder's session one that had the factor. */
static inline void had_factor(struct holder *h)
{
	char code[16];
	struct jwt_claims t;
	const struct auth_login_in in = {.api_key = str_from(h->m.key),
	                                 .code = code_of(h, 0, code)};
	AUTO_CALL c = login_with(&in);

	assert_int_equal(c.e, OK);
	assert_int_equal(accepted(fx.auth, text(&c, "token"), &t), OK);
	copy(h->sid, sizeof(h->sid), str_from(t.who.sid));
	forgive();
}

static inline struct call login_key(const struct holder *h, struct str code)
{
	const struct auth_login_in in = {.api_key = str_from(h->m.key),
	                                 .code = code};

	return login_with(&in);
}

static inline struct call finish(const char *challenge, struct str code)
{
	const struct auth_login_in in = {.challenge = str_from(challenge),
	                                 .code = code};

	return login_with(&in);
}

static inline void challenged(const struct holder *h, char out[48])
{
	AUTO_CALL c = login_key(h, (struct str){0});

	assert_int_equal(c.e, ERR_FACTOR_NEEDED);
	assert_int_equal(c.reply.body.n, 0);
	copy(out, 48, str_from(c.cx.problem.challenge));
}

static inline struct call factors(const struct holder *h)
{
	return run_as(str_from(h->m.sub), h->m.scopes, method_auth_factors,
	              NULL);
}

#endif
