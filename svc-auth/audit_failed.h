/*
 * audit_failed - logins that failed, counted until they are told to the audit
 * log.
 *
 * Why:     a failed login has no transaction to be told in, and a flood of them
 *          must neither fill the disk nor cost a write each.  So it is a note in
 *          memory; upkeep tells the log of the first within two seconds, and
 *          then at most once a minute how many more there were.  That also keeps
 *          an account that exists and one that does not alike: both are a note.
 * What:    one entry per account and network of the client (/24, /64), or per
 *          network where no account is known.  A kill loses what was not told
 *          yet: two seconds, or the count of a minute.
 * Bounds:  FAILED_MAX entries of either kind; what finds no room is counted
 *          together in an entry for all networks.  So at most 2 * FAILED_MAX
 *          rows a minute and process, whatever comes.
 * Threads: any; audit_failed_tell() one.
 */
#ifndef SVC_AUTH_AUDIT_FAILED_H
#define SVC_AUTH_AUDIT_FAILED_H

#include "svc-auth/device.h"

#include "common/base/ctx.h"
#include "common/base/guard.h"
#include "common/base/net.h"
#include "common/base/uuid.h"

#define FAILED_MAX      64
#define FAILED_EVERY_MS ((int64_t)60 * 1000)

struct failed_login {
	size_t slot;               /* in v */
	char sub[UUID_MAX];        /* empty: no account is known */
	char prefix[NET_TEXT_MAX]; /* empty: of many networks */
	char method[16];
	char ip[48], agent[AGENT_MAX], rid[40]; /* of the last one, cut */
	int64_t count, at_ms; /* since it was told; of the last */
	int64_t told_ms;      /* 0: never */
};

struct audit_failed {
	pthread_mutex_t lock;
	struct failed_login v[2 * FAILED_MAX]; /* of nobody, of somebody */
};

bool audit_failed_init(struct audit_failed *f) MUST_CHECK;
void audit_failed_fini(struct audit_failed *f);

/* sub: whose account, or empty; method: "api_key", "password", "totp" ... */
void audit_failed_note(struct audit_failed *f, const struct ctx *cx,
                       struct str sub, const char *method, int64_t now_ms);

/*
 * Copies what is due (all of it: at the end) to out, which has room for
 * 2 * FAILED_MAX; returns how many.  After they have been committed,
 * audit_failed_told() takes off what they say; before, they will be due again.
 */
size_t audit_failed_due(struct audit_failed *f, int64_t now_ms, bool all,
                        struct failed_login *out);
void audit_failed_told(struct audit_failed *f, const struct failed_login *told,
                       size_t n, int64_t now_ms);

#endif
