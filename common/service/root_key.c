#include "common/service/root_key.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/base/log.h"

#include <stdio.h>
#include <stdlib.h>

#define LOCK_NUMBER 0x6b61655f726f6f74 /* "kae_root" */
#define SEALED      (sizeof(struct root_keys) + SEAL_OVERHEAD)
#define IDS_MAX     (KEK_MAX * (KEK_ID + 2))
#define LABEL_MAX   48

enum { S_GET, S_ADD, S_RESEAL, S_COUNT };

static const struct db_stmt rows[S_COUNT] = {
	[S_GET] = {"root_key.get",
                   "SELECT kek, sealed FROM @root_key WHERE id = 1", NULL},
	[S_ADD] = {"root_key.add",
                   "INSERT INTO @root_key (id, kek, sealed, created_at, "
                   "sealed_at) VALUES (1, $1, $2, $3, $3)",
                   NULL},
	[S_RESEAL] = {"root_key.reseal",
                      "UPDATE @root_key SET kek = $1, sealed = $2, "
                      "sealed_at = $3 WHERE id = 1",
                      NULL},
};

struct root_key {
	const char *service;
	struct db_stmt *st;
	pthread_mutex_t lock; /* of what follows */
	size_t n;             /* keys that were given */
	char first[KEK_ID + 1], given[IDS_MAX];
	char seals[KEK_ID + 1]; /* "": not known yet */
};

enum deed { NOTHING_DONE, MADE, TAKEN_OVER, RESEALED };

/* One row, and what a transaction makes of it. */
struct opening {
	const struct root_key *r;
	const struct kek_ring *keks;
	root_probe_fn *probe;
	struct root_keys fresh; /* made outside, as a function may run twice */
	struct root_keys *out;
	bool there;
	char kek[KEK_ID + 1];
	unsigned char sealed[SEALED];
	size_t sealed_n;
	enum deed deed;
};

/* --- the row -------------------------------------------------------------- */

static enum err take_row(void *arg, const struct db_row *row)
{
	struct opening *o = arg;
	struct str kek = db_row_str(row, 0), sealed = db_row_str(row, 1);

	if (sealed.n > sizeof(o->sealed))
		sealed.n = 0; /* opens nothing */
	(void)snprintf(o->kek, sizeof(o->kek), "%.*s", STR_FMT(kek));
	memcpy(o->sealed, sealed.p, sealed.n);
	o->sealed_n = sealed.n;
	o->there = true;
	return OK;
}

static enum err read_row(struct db *db, struct opening *o)
{
	const struct db_sink sink = {take_row, o};

	o->there = false;
	return db_run(db, &o->r->st[S_GET], NULL, 0, &sink);
}

/* Bound to the service and to the key that seals it. */
static struct str label(const struct root_key *r, const char *kek,
                        char out[LABEL_MAX])
{
	(void)snprintf(out, LABEL_MAX, "root_key %.15s %.16s", r->service, kek);
	return str_from(out);
}

static void wrapping(const struct kek *k, struct seal_key *out)
{
	seal_key_for(&k->key, "kae-root-key", out);
}

static enum err write_row(struct db *db, const struct opening *o,
                          const struct db_stmt *st)
{
	const struct kek *k = &o->keks->kek[0];
	const struct str plain = {(const char *)o->out, sizeof(*o->out)};
	unsigned char sealed[SEAL_MAX];
	char text[LABEL_MAX];
	struct seal_key wrap;
	size_t n = 0;
	bool ok;

	wrapping(k, &wrap);
	ok = seal(&wrap, plain, label(o->r, k->id, text), sealed, &n);
	explicit_bzero(&wrap, sizeof(wrap));
	if (!ok)
		return ERR_INTERNAL;
	{
		const struct str s = {(const char *)sealed, n};
		const struct db_val v[] = {DB_TEXT(k->id), DB_BLOB(s),
		                           DB_I64(wall_ms())};

		return db_run(db, st, v, COUNTOF(v), NULL);
	}
}

/* --- at start ------------------------------------------------------------- */

static enum err refuse(struct db *db, const struct opening *o, const char *hint)
{
	log_error(db_cx(db), "root_key.refused", LOG_TEXT("hint", hint),
	          LOG_TEXT("sealed_under", o->there ? o->kek : ""),
	          LOG_TEXT("given", o->r->given));
	return ERR_INVALID;
}

static enum err unlock(struct db *db, struct opening *o)
{
	const struct kek *k = kek_find(o->keks, str_from(o->kek));
	const struct str sealed = {(const char *)o->sealed, o->sealed_n};
	unsigned char plain[SEAL_PLAIN_MAX];
	char text[LABEL_MAX];
	struct seal_key wrap;
	size_t n = 0;
	bool ok;

	if (!k)
		return refuse(
			db, o,
			"the root key of this database is sealed under a key that is not in KEY_ENCRYPTION_KEY; its id is sealed_under");
	wrapping(k, &wrap);
	ok = unseal(&wrap, sealed, label(o->r, k->id, text), plain, &n) &&
	     n == sizeof(*o->out);
	explicit_bzero(&wrap, sizeof(wrap));
	if (!ok)
		return refuse(
			db, o,
			"the root key of this database was altered: restore it from a backup");
	memcpy(o->out, plain, n);
	explicit_bzero(plain, sizeof(plain));
	if (k == o->keks->kek)
		return OK;
	o->deed = RESEALED;
	return write_row(db, o, &o->r->st[S_RESEAL]);
}

/* What was sealed before there were root keys was so with the key itself.  The
 * oldest of a list is likely to be the one. */
static enum err probe_all(struct db *db, const struct opening *o,
                          enum root_claim *claim, const struct seal_key **fits)
{
	enum err e = OK;

	*claim = ROOT_REFUSES;
	for (size_t i = o->keks->n; !e && *claim == ROOT_REFUSES && i-- > 0;) {
		*fits = &o->keks->kek[i].key;
		e = o->probe(db, *fits, claim);
	}
	if (!e && *claim == ROOT_REFUSES) {
		*fits = &o->keks->whole;
		e = o->probe(db, *fits, claim);
	}
	return e;
}

static enum err begin(struct db *db, struct opening *o)
{
	const struct seal_key *fits = NULL;
	enum root_claim claim;
	enum err e = probe_all(db, o, &claim, &fits);

	if (e)
		return e;
	switch (claim) {
	case ROOT_UNUSED:
		*o->out = o->fresh;
		o->deed = MADE;
		break;
	case ROOT_FITS:
		*o->out = (struct root_keys){*fits, *fits};
		o->deed = TAKEN_OVER;
		break;
	case ROOT_REFUSES:
		return refuse(
			db, o,
			"what lies in this database was sealed with another KEY_ENCRYPTION_KEY");
	}
	return write_row(db, o, &o->r->st[S_ADD]);
}

/* A db_fn. */
static enum err open_row(struct db *db, void *arg)
{
	struct opening *o = arg;
	enum err e = db_lock(db, LOCK_NUMBER);

	o->deed = NOTHING_DONE;
	if (!e)
		e = read_row(db, o);
	if (e)
		return e;
	return o->there ? unlock(db, o) : begin(db, o);
}

static void tell(struct ctx *cx, const struct opening *o)
{
	static const char *const events[] = {[MADE] = "key.made",
	                                     [TAKEN_OVER] = "key.taken_over",
	                                     [RESEALED] = "key.resealed"};

	if (o->deed != NOTHING_DONE)
		log_info(cx, events[o->deed], LOG_TEXT("key", "root_key"),
		         LOG_TEXT("from", o->deed == RESEALED ? o->kek : ""),
		         LOG_TEXT("to", o->keks->kek[0].id));
}

static void note_given(struct root_key *r, const struct kek_ring *keks)
{
	size_t at = 0;
	GUARD(&r->lock);

	r->n = keks->n;
	memcpy(r->first, keks->kek[0].id, sizeof(r->first));
	for (size_t i = 0; i < keks->n; i++)
		at += (size_t)snprintf(r->given + at, sizeof(r->given) - at,
		                       "%s%s", i ? ", " : "", keks->kek[i].id);
}

static void note_seals(struct root_key *r, const char *kek)
{
	GUARD(&r->lock);

	(void)snprintf(r->seals, sizeof(r->seals), "%s", kek);
}

enum err root_key_open(struct root_key *r, struct db_pool *pool, struct ctx *cx,
                       const struct settings *settings, root_probe_fn *probe,
                       struct root_keys *out)
{
	AUTO_KEK_RING keks = {0};
	AUTO_ROOT_KEYS keys = {0};
	struct opening o = {
		.r = r, .keks = &keks, .probe = probe, .out = &keys};
	enum err e =
		sodium_init() < 0 ? ERR_INTERNAL : kek_load(settings, &keks);

	if (e)
		return e;
	note_given(r, &keks);
	randombytes_buf(&o.fresh, sizeof(o.fresh));
	e = db_write(pool, cx, open_row, &o);
	explicit_bzero(&o.fresh, sizeof(o.fresh));
	if (e)
		return e;
	note_seals(r, keks.kek[0].id);
	tell(cx, &o);
	*out = keys;
	return OK;
}

/* --- afterwards ----------------------------------------------------------- */

/* A db_fn. */
static enum err look(struct db *db, void *arg)
{
	return read_row(db, arg);
}

void root_key_look(struct root_key *r, struct db_pool *pool, struct ctx *cx)
{
	struct opening o = {.r = r};

	if (!db_read_one(pool, cx, look, &o) && o.there)
		note_seals(r, o.kek);
}

enum health_state root_key_check(void *arg, char *detail, size_t max)
{
	struct root_key *r = arg;
	GUARD(&r->lock);

	if (r->seals[0] == '\0') {
		(void)snprintf(detail, max, "not opened yet");
		return HEALTH_UP;
	}
	if (strcmp(r->seals, r->first) == 0) {
		(void)snprintf(detail, max, "sealed under %s, of %zu given",
		               r->seals, r->n);
		return HEALTH_UP;
	}
	/* No key is "", and ids are of one length: it is there or it is not. */
	(void)snprintf(detail, max,
	               strstr(r->given, r->seals)
	                       ? "sealed under %s, %s comes first here"
	                       : "sealed under %s, which a restart would lack: "
	                         "%s is given",
	               r->seals, r->first);
	return HEALTH_DEGRADED;
}

struct root_key *root_key_new(const char *service)
{
	struct root_key *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->service = service;
	r->st = db_stmts_for(rows, S_COUNT, service);
	if (!r->st || pthread_mutex_init(&r->lock, NULL)) {
		free(r->st);
		free(r);
		return NULL;
	}
	return r;
}

void root_key_free(struct root_key *r)
{
	if (!r)
		return;
	(void)pthread_mutex_destroy(&r->lock);
	free(r->st);
	free(r);
}
