/*
 * refresh - the refresh tokens of a session (design D26).
 *
 *   t1 ──▶ t2 ──▶ t3        one is good at a time; each is used once
 *
 * The first is random, each further one a keyed hash of the one before.  So the
 * answer that was lost, and the second tab that came with the same token, can be
 * given the very successor that the first use got, although only SHA-256 of
 * tokens is stored: there is one line of descent, whoever asks how often.
 *
 * Bounds:  REFRESH_KEPT rows of a session.
 * Owns:    nothing.  Tokens are the caller's to wipe.
 * Threads: any; the database functions inside a transaction function.
 */
#ifndef SVC_AUTH_REFRESH_H
#define SVC_AUTH_REFRESH_H

#include "svc-auth/session.h"

#define REFRESH_KEPT 100

void refresh_first(char out[REFRESH_TOKEN_MAX]);
void refresh_next(const struct seal_key *key, struct str token,
                  char out[REFRESH_TOKEN_MAX]);
enum err refresh_add(struct db *db, const char *sid, int64_t counter,
                     const char *token, int64_t now_ms) MUST_CHECK;

#endif
