/*
 * admit - how every login goes on whose first factor was right: with the second
 * one where somebody has it, and then with a session.
 *
 *     key or password ──▶ no factor ───────────────────────▶ session
 *                     ──▶ factor, a code came along ──▶ good ─▶ session
 *                     ──▶ factor, none did ──▶ challenge (401)
 *     challenge and code ─────────────────────────────▶ good ─▶ session
 *
 * An API key that logs in is one factor, however long it is: it lies in a file
 * or in a browser, and who has a second factor has it against just that.  The
 * same key as X-API-Key needs none: a program has no app to look at.  It is
 * bounded by its scopes, listed, and revoked; and what asks who one is
 * (stepup.h) it does not do without a code.
 *
 * Threads: lanes that may block.
 */
#ifndef SVC_AUTH_ADMIT_H
#define SVC_AUTH_ADMIT_H

#include "svc-auth/challenge.h"
#include "svc-auth/session.h"

#include "common/service/idempotency.h"

struct admit {
	struct auth *au;
	struct str sub; /* as found before the transaction that asks who */
	admit_fn *who;
	void *arg;
	struct str code; /* as sent; empty: none */
	bool cookie;     /* the session is for a cookie */
	bool challenged; /* it came with a challenge */
};

/*
 * OK with the answer in out.  ERR_FACTOR_NEEDED with a challenge in cx, or
 * ERR_BAD_LOGIN (the code), ERR_RATE_LIMITED (too many of them), ERR_NOT_FOUND:
 * this person cannot log in.
 */
enum err admit(struct admit *a, struct ctx *cx, struct reply *out) MUST_CHECK;

#endif
