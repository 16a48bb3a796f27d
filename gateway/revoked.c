#include "gateway/revoked.h"

#include <sodium.h>
#include <stdlib.h>

#define FIRST_CAPACITY 64
#define ID_MAX         64

struct entry_key {
	unsigned char b[16];
};

struct row {
	struct entry_key key;
	int64_t at_ms, until_ms; /* until_ms 0: an empty place */
};

struct revoked {
	unsigned char secret[crypto_shorthash_siphashx24_KEYBYTES];
	struct row *rows;
	size_t capacity, n; /* capacity: a power of two, n at most half of it */
	uint64_t revision;
};

static const char *const kinds[] = {
	[REVOKED_JTI] = "jti",
	[REVOKED_KEY] = "key",
	[REVOKED_SUB] = "sub",
};

struct revoked *revoked_new(void)
{
	AUTO(revoked) r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->capacity = FIRST_CAPACITY;
	r->rows = calloc(r->capacity, sizeof(*r->rows));
	if (!r->rows)
		return NULL;
	randombytes_buf(r->secret, sizeof(r->secret));
	return STEAL(r);
}

void revoked_free(struct revoked *r)
{
	if (!r)
		return;
	free(r->rows);
	free(r);
}

bool revoked_kind_from_str(struct str s, enum revoked_kind *out)
{
	for (size_t i = 0; i < COUNTOF(kinds); i++) {
		if (str_eq(s, str_from(kinds[i]))) {
			*out = (enum revoked_kind)i;
			return true;
		}
	}
	return false;
}

static struct entry_key key_of(const struct revoked *r, enum revoked_kind kind,
                               struct str id)
{
	unsigned char text[1 + ID_MAX];
	size_t n = id.n < ID_MAX ? id.n : ID_MAX;
	struct entry_key k;

	text[0] = (unsigned char)kind;
	if (n)
		memcpy(text + 1, id.p, n);
	(void)crypto_shorthash_siphashx24(k.b, text, 1 + n, r->secret);
	return k;
}

/* Where k is, or the empty place where it would go. */
static struct row *place(struct row *rows, size_t capacity,
                         const struct entry_key *k)
{
	uint64_t h;
	size_t i;

	memcpy(&h, k->b, sizeof(h));
	i = (size_t)h & (capacity - 1);
	while (rows[i].until_ms && memcmp(&rows[i].key, k, sizeof(*k)) != 0)
		i = (i + 1) & (capacity - 1);
	return &rows[i];
}

/* Into a new table, without what is past. */
static enum err rebuild(struct revoked *r, int64_t now_ms)
{
	size_t live = 0, capacity = FIRST_CAPACITY;
	struct row *rows;

	for (size_t i = 0; i < r->capacity; i++)
		live += r->rows[i].until_ms > now_ms;
	if (live >= REVOKED_MAX)
		return ERR_BUSY;
	/* Quarter full, so that the next rebuild is as far away as this one
	 * was long. */
	while (capacity / 4 <= live)
		capacity *= 2;
	rows = calloc(capacity, sizeof(*rows));
	if (!rows)
		return ERR_NOMEM;
	for (size_t i = 0; i < r->capacity; i++)
		if (r->rows[i].until_ms > now_ms)
			*place(rows, capacity, &r->rows[i].key) = r->rows[i];
	free(r->rows);
	r->rows = rows;
	r->capacity = capacity;
	r->n = live;
	return OK;
}

enum err revoked_add(struct revoked *r, enum revoked_kind kind, struct str id,
                     int64_t at_ms, int64_t until_ms, int64_t now_ms)
{
	struct entry_key k = key_of(r, kind, id);
	struct row *row = place(r->rows, r->capacity, &k);

	if (until_ms <= now_ms)
		return OK;
	if (!row->until_ms &&
	    (r->n + 1 > r->capacity / 2 || r->n >= REVOKED_MAX)) {
		enum err e = rebuild(r, now_ms);

		if (e)
			return e;
		row = place(r->rows, r->capacity, &k);
	}
	if (row->until_ms >= until_ms && row->at_ms >= at_ms)
		return OK; /* told twice */
	if (!row->until_ms) {
		*row = (struct row){.key = k};
		r->n++;
	}
	row->at_ms = at_ms > row->at_ms ? at_ms : row->at_ms;
	row->until_ms = until_ms > row->until_ms ? until_ms : row->until_ms;
	r->revision++;
	return OK;
}

int64_t revoked_at(const struct revoked *r, enum revoked_kind kind,
                   struct str id)
{
	struct entry_key k = key_of(r, kind, id);
	const struct row *row = place(r->rows, r->capacity, &k);

	return row->until_ms ? row->at_ms : -1;
}

uint64_t revoked_revision(const struct revoked *r)
{
	return r->revision;
}

size_t revoked_count(const struct revoked *r)
{
	return r->n;
}
