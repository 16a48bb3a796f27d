/*
 * kek - the keys under which a service's root key lies in its database
 * (root_key.h): from KEY_ENCRYPTION_KEY, or in development from a file of
 * DATA_DIR.  The first of the list seals, the others only open, so that one can
 * be replaced by another.
 *
 * A key is known by its id, a hash of it that says nothing of it as long as its
 * text cannot be guessed; ids are for logs and people.
 *
 * Bounds:  KEK_MAX keys of at least KEK_TEXT_MIN characters.
 * Owns:    nothing; the ring is the caller's to wipe.
 * Threads: any; several processes may make the file at once.
 */
#ifndef BASE_KEK_H
#define BASE_KEK_H

#include "common/base/conf.h"
#include "common/base/err.h"
#include "common/base/seal.h"

#define KEK_MAX      16
#define KEK_TEXT_MIN 32
#define KEK_ID       16 /* characters of an id */

struct kek {
	struct seal_key key;
	char id[KEK_ID + 1];
};

struct kek_ring {
	size_t n;
	struct kek kek[KEK_MAX];
	/* Of the text as it stands, which was one key before there were lists. */
	struct seal_key whole;
};

/* Comma separated.  NULL, or what is wrong with it; *out is only then filled
 * where it is NULL. */
const char *kek_parse(struct str text, struct kek_ring *out) MUST_CHECK;
/* ERR_INVALID: there is none, or it is not usable, which is told on the log. */
enum err kek_load(const struct settings *s, struct kek_ring *out) MUST_CHECK;
/* The key with that id; NULL: the ring has none. */
const struct kek *kek_find(const struct kek_ring *r, struct str id);

static inline void kek_ring_auto(struct kek_ring *r)
{
	explicit_bzero(r, sizeof(*r));
}
#define AUTO_KEK_RING __attribute__((cleanup(kek_ring_auto))) struct kek_ring

#endif
