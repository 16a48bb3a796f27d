/*
 * limit_table - the buckets of everybody who is being counted, in memory whose
 * size never changes.
 *
 * Why:     a table that grows is what an attacker with many addresses fills;
 *          one that forgets the oldest or a random entry is what he uses to
 *          have his own bucket forgotten.  Here a bucket is forgotten when it
 *          is full again, which changes nothing, and only if there is none
 *          such among LIMIT_WAYS places, the one that is nearest to it.  To be
 *          rid of an empty bucket one must empty more than LIMIT_WAYS others
 *          in places that a secret of this process chooses.
 * Form:    sets of LIMIT_WAYS; a key's hash (SipHash with a secret) names the
 *          set and the tag inside it.
 * Leases:  where other gateways count too, a bucket also knows how many units
 *          were taken here of which they have not heard: `ahead`, and `told`
 *          while they are being told.  With a lease both together stay within
 *          it.
 * Bounds:  LIMIT_WAYS * sets buckets of 24 bytes, asked for once.
 * Threads: any; LIMIT_STRIPES locks, leaves, held for the length of one look.
 */
#ifndef GATEWAY_LIMIT_TABLE_H
#define GATEWAY_LIMIT_TABLE_H

#include "common/base/attr.h"
#include "common/base/str.h"
#include "gateway/limit_gcra.h"

#define LIMIT_WAYS    8
#define LIMIT_STRIPES 64

struct limit_table;

/* buckets is rounded up to a power of two.  NULL without memory. */
struct limit_table *limit_table_new(size_t buckets);
void limit_table_free(struct limit_table *t);
AUTO_TYPE(limit_table, struct limit_table *, limit_table_free)

/* Where the bucket of a policy and whom it counts is. */
struct limit_key {
	uint64_t set, tag;
};
struct limit_key limit_key_of(const struct limit_table *t, unsigned policy,
                              struct str subject);

struct limit_taken {
	uint64_t tat_ns; /* the bucket's, now */
	bool leased_out; /* refused only because others have to hear first */
	unsigned
		tell; /* so many are to be told now; then limit_table_heard() */
};

/*
 * Takes n units or none.  n 0 looks whether there is at least one unit and takes
 * none.  lease 0: nobody else counts.
 */
bool limit_table_take(struct limit_table *t, struct limit_key k,
                      const struct gcra *g, uint64_t now_ns, uint64_t n,
                      unsigned lease, struct limit_taken *out);
/*
 * What others know: owed_ns until the bucket is full.  Ours only becomes
 * emptier by it.  told: this answers what was told; known false: nobody heard.
 */
void limit_table_heard(struct limit_table *t, struct limit_key k,
                       const struct gcra *g, uint64_t now_ns, bool told,
                       bool known, uint64_t owed_ns);
void limit_table_charge(struct limit_table *t, struct limit_key k,
                        const struct gcra *g, uint64_t now_ns, uint64_t n);
/* untell: what was to be told of it has not been. */
void limit_table_give_back(struct limit_table *t, struct limit_key k,
                           const struct gcra *g, uint64_t n, bool untell);
/* Buckets that were forgotten before they were full again. */
uint64_t limit_table_evicted(const struct limit_table *t);

#endif
