/*
 * keys - tells whether a key stands twice in one of several nested objects.
 *
 * Why:     parsers that disagree on which of two equal keys counts can be
 *          played against each other, so a second one is refused (RFC 8259, 4).
 * How:     up to KEYS_FEW keys are compared one by one.  Beyond that an object
 *          gets a hash table; hashing is SipHash with a key drawn for each
 *          text, so nobody can choose keys that collide.
 * Bounds:  KEYS_DEPTH nested objects; memory grows with the keys of the objects
 *          that are open, time with the bytes of all keys.
 * Owns:    its tables until keys_fini().  Keys are offsets into the caller's
 *          bytes, which may move as a whole between two calls.
 * Threads: one at a time.
 */
#ifndef CODEC_KEYS_H
#define CODEC_KEYS_H

#include "common/base/attr.h"
#include "common/base/str.h"

#define KEYS_DEPTH 32
#define KEYS_FEW   16

struct key {
	size_t at, n;
	uint64_t hash; /* only where the object has a table */
};

struct key_level {
	size_t first;    /* of its keys in v */
	uint32_t *slots; /* index in v plus one; 0 is free; NULL: no table */
	size_t mask;
};

/* A zeroed struct is valid and empty. */
struct keys {
	struct key *v;
	size_t n, cap;
	unsigned depth;
	bool seeded;
	unsigned char seed[16];
	struct key_level level[KEYS_DEPTH];
};

enum keys_result { KEYS_NEW, KEYS_TWICE, KEYS_NOMEM };

void keys_open(struct keys *k); /* an object begins; at most KEYS_DEPTH deep */
void keys_close(struct keys *k);
/* The key of n bytes at base + at joins the innermost object. */
enum keys_result keys_add(struct keys *k, const char *base, size_t at,
                          size_t n) MUST_CHECK;
void keys_fini(struct keys *k);

#endif
