/*
 * remote_store - what the remote tier says to the store and how its answers
 * read: names, scripts, words, values, messages.  Internal to common/cache.
 *
 * Names.  All of a space share a hash tag, so they live in one slot of a
 * cluster and a script may touch them together:
 *
 *     kae:1:{gdpr}:g          hash: generations by slot; e epoch, r run
 *     kae:1:{gdpr}:v:<key>    a value
 *     kae:1:{gdpr}:-          never there: removing it tries if one may write
 *     kae:1:{gdpr}:forget     the channel of messages
 *
 * A value, numbers in network order:
 *
 *     0  version 1 | flags (1: negative) | n slots | 0
 *     4  length of the bytes (4)
 *     8  time to be kept beyond freshness, ms (8)
 *    16  epoch (8)
 *    24  generation of everything (8)
 *    32  n times: slot (2), generation (8); then the bytes
 *
 * A message: "<epoch, 16 hex digits> <slot> <generation>".
 *
 * Scripts are sent whole the first time on a connection and by their SHA-1
 * after that: no round trip to load them, and NOSCRIPT (SCRIPT FLUSH, another
 * server behind one address) only means to send it whole the next time.
 *
 * Everything that is read here is a stranger's: any bytes are refused or
 * understood, nothing is asserted.
 */
#ifndef CACHE_REMOTE_STORE_H
#define CACHE_REMOTE_STORE_H

#include "common/cache/remote.h"
#include "common/cache/script.h"

#define STORE_EPOCH_MAX   17  /* 16 hex digits and a NUL */
#define STORE_RAISE_MAX   256 /* slots raised by one command */
#define STORE_HEAD_MAX    (32 + REMOTE_SLOTS_MAX * (size_t)10)
#define STORE_MESSAGE_MAX 64

struct store_names {
	struct str hash, nothing, channel, prefix;
	char *text; /* owned: all of them */
};

bool store_names_init(struct store_names *n, struct str space) MUST_CHECK;
void store_names_fini(struct store_names *n);

enum store_script { SCRIPT_BEGIN, SCRIPT_SET, SCRIPT_FORGET, SCRIPTS };
struct str store_script_text(enum store_script s);
/* Its SHA-1 in hex; false where the library has none. */
bool store_script_sha(enum store_script s, char out[SCRIPT_SHA_MAX]) MUST_CHECK;

/* --- a command under construction ------------------------------------------------ */

#define WORDS_MAX      (STORE_RAISE_MAX + 16)
#define WORDS_TEXT_MAX ((size_t)WORDS_MAX * 8)
struct words {
	size_t n, used;
	struct str word[WORDS_MAX];
	char text[WORDS_TEXT_MAX]; /* of the numbers among them */
};

/* Both assert that there is room: a command's form is ours. */
void words_add(struct words *w, struct str s);
void words_add_u64(struct words *w, uint64_t v);
void epoch_text(uint64_t epoch, char out[STORE_EPOCH_MAX]);

/* --- values and messages --------------------------------------------------------- */

struct stored {
	bool negative;
	uint64_t stale_ms;
	struct remote_marks marks;
	struct str bytes; /* inside of what was decoded */
};

/* Appends; a failed buf says that there was no memory. */
void stored_encode(struct buf *out, const struct stored *v);
/* False for anything but a whole value of this version. */
bool stored_decode(struct str in, struct stored *out) MUST_CHECK;

struct message {
	uint64_t epoch; /* 0: the store had none when it was sent */
	unsigned slot;
	uint64_t gen;
};
bool message_decode(struct str in, struct message *out) MUST_CHECK;

/* False for anything but digits that fit. */
bool str_to_u64(struct str s, uint64_t *out) MUST_CHECK;

/* --- answers --------------------------------------------------------------------- */

/* An integer, or a string of nothing but digits; false for all else. */
bool reply_u64(const struct redisReply *r, uint64_t *out) MUST_CHECK;
bool reply_epoch(const struct redisReply *r, uint64_t *out) MUST_CHECK;
struct str reply_text(const struct redisReply *r); /* empty if it has none */
/* In HMGET's answer an absent generation is 0. */
bool reply_gen(const struct redisReply *r, uint64_t *out) MUST_CHECK;
bool reply_time(const struct redisReply *r, uint64_t *out_ms) MUST_CHECK;
/* The value of a line "name:value" in INFO's answer; empty: not there. */
struct str info_field(struct str info, struct str name);

/*
 * What an error answer means.  Only those of the table are ever shown on the
 * log, in our words: the server's own may repeat a key or a password.
 */
enum refusal {
	REFUSED_ONCE,   /* this command failed, the connection is fine */
	REFUSED_SCRIPT, /* it does not know the script */
	REFUSED_TYPE,   /* something else is kept by our name */
	REFUSED_FULL,   /* no memory left for writes */
	REFUSED_ALL,    /* this connection is of no use */
};
enum refusal reply_refusal(const struct redisReply *r, const char **why);

#endif
