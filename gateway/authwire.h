/*
 * authwire - the messages between identity and svc-auth: packs the calls and
 * reads what comes back.  Bytes from the bus are checked, never trusted.
 *
 * Owns:    nothing; what is read are slices of the message or copies.
 * Threads: any.
 */
#ifndef GATEWAY_AUTHWIRE_H
#define GATEWAY_AUTHWIRE_H

#include "gateway/jwt.h"
#include "gateway/revoked.h"

#include "common/codec/mp.h"

#define AUTHWIRE_ARENA_MAX ((size_t)64 << 10)

/*
 * Calls svc-auth without a person: the gateway asks for itself.  tp (the trace
 * that it belongs to) and body may be empty.  The answer has ms from this very
 * moment: the turn may have begun long ago, as before a process that was
 * stopped.
 */
enum err authwire_ask(const struct identity_bus *bus, struct str tp,
                      const char *op, struct str body, uint64_t ms,
                      bus_reply_fn *fn, void *arg, uint64_t *call) MUST_CHECK;
void authwire_hash(struct buf *b, const unsigned char hash[32]);
void authwire_since(struct buf *b, int64_t seq);

/*
 * The body of a reply, a slice of bytes; else the error that the reply is, or
 * ERR_PEER_LOST when it is none.
 */
enum err authwire_body(struct str bytes, struct arena *a,
                       struct str *body) MUST_CHECK;
/* auth.verify_key: who it is, as claims with expires_s 0. */
bool authwire_key(struct str body, struct jwt_claims *out) MUST_CHECK;

struct authwire_revocation {
	int64_t seq, at_ms, until_ms;
	bool known; /* kind is one of ours */
	enum revoked_kind kind;
	struct str id;
};
/* One row; moves the cursor behind it. */
bool authwire_revocation(struct mp *m,
                         struct authwire_revocation *out) MUST_CHECK;

#endif
