#include "svc-auth/auth.h"

#include "svc-auth/audit.h"
#include "svc-auth/bootstrap.h"
#include "svc-auth/session.h"
#include "svc-auth/stmts.h"

#include "common/base/clock.h"
#include "common/base/log.h"

#include <stdlib.h>

/* Rows of keys that are revoked or expired stay this long, for whoever asks
 * what a key was. */
#define KEY_KEEP_MS ((int64_t)90 * 24 * 3600 * 1000)

/* --- state ---------------------------------------------------------------- */

static bool seal_answer(const void *arg, struct str plain, struct str label,
                        struct buf *out)
{
	return seal_buf(arg, plain, label, out);
}

static bool unseal_answer(const void *arg, struct str sealed, struct str label,
                          struct buf *out)
{
	return unseal_buf(arg, sealed, label, out);
}

/* Two uses, two keys. */
static void seal_answers(struct auth *au, const struct root_keys *keys)
{
	struct idem_seal s = {.seal = seal_answer,
	                      .unseal = unseal_answer,
	                      .arg = &au->answers};
	struct seal_key hashes;

	seal_key_for(&keys->seal, "kae-idem-answer", &au->answers);
	seal_key_for(&keys->hash, "kae-idem-hash", &hashes);
	_Static_assert(sizeof(s.key) == sizeof(hashes.k), "one size of key");
	memcpy(s.key, hashes.k, sizeof(s.key));
	idem_seal(au->conf.idem, &s);
	explicit_bzero(&s, sizeof(s));
	explicit_bzero(&hashes, sizeof(hashes));
}

static void derive(struct auth *au, const struct root_keys *keys)
{
	seal_answers(au, keys);
	seal_key_for(&keys->seal, "kae-totp", &au->totp);
	seal_key_for(&keys->hash, "kae-refresh", &au->refresh);
	seal_key_for(&keys->hash, "kae-throttle", &au->throttle);
	seal_key_for(&keys->hash, "kae-recovery", &au->recovery);
	seal_key_for(&keys->hash, "kae-erased-names", &au->handles);
}

static enum err open_signing(struct auth *au, struct ctx *cx, int64_t now_ms)
{
	struct signing_conf conf = {
		.pool = au->conf.pool,
		.seal = au->conf.keys->seal,
		.key_ttl_ms =
			(int64_t)au->conf.settings->signing_key_ttl_s * 1000,
		.token_ttl_ms = au->token_ttl_s * 1000,
	};
	enum err e = signing_open(&conf, cx, now_ms, &au->signing);

	explicit_bzero(&conf.seal, sizeof(conf.seal));
	return e;
}

enum err auth_new(const struct auth_conf *conf, struct ctx *cx,
                  struct auth **out)
{
	int64_t now_ms = wall_ms();
	AUTO(auth) au = NULL;
	struct auth *fresh;
	enum err e;

	if (sodium_init() < 0)
		return ERR_INTERNAL;
	fresh = calloc(1, sizeof(*fresh));
	if (!fresh)
		return ERR_NOMEM;
	if (!used_init(&fresh->used)) {
		free(fresh);
		return ERR_NOMEM;
	}
	if (!used_init(&fresh->seen)) {
		used_fini(&fresh->used);
		free(fresh);
		return ERR_NOMEM;
	}
	if (!audit_failed_init(&fresh->failed)) {
		used_fini(&fresh->seen);
		used_fini(&fresh->used);
		free(fresh);
		return ERR_NOMEM;
	}
	au = fresh; /* from here auth_free() fits */
	au->conf = *conf;
	au->token_ttl_s = (int64_t)conf->settings->access_token_ttl_s;
	hasher_init(&au->hasher, conf->settings);
	derive(au, conf->keys);
	e = open_signing(au, cx, now_ms);
	au->conf.keys = NULL; /* they are the caller's to wipe */
	if (!e)
		e = bootstrap_admin(au, cx, now_ms);
	if (e)
		return e;
	*out = STEAL(au);
	return OK;
}

void auth_free(struct auth *au)
{
	if (!au)
		return;
	signing_free(au->signing);
	used_fini(&au->used);
	used_fini(&au->seen);
	audit_failed_fini(&au->failed);
	explicit_bzero(&au->answers, sizeof(au->answers));
	explicit_bzero(&au->refresh, sizeof(au->refresh));
	explicit_bzero(&au->throttle, sizeof(au->throttle));
	explicit_bzero(&au->totp, sizeof(au->totp));
	explicit_bzero(&au->recovery, sizeof(au->recovery));
	explicit_bzero(&au->handles, sizeof(au->handles));
	free(au);
}

enum err auth_revoke(struct auth *au, struct db *db, enum revoke_kind kind,
                     struct str id, int64_t now_ms, struct revoke_batch *batch)
{
	return auth_revoke_at(au, db, kind, id, now_ms, now_ms, batch);
}

enum err auth_revoke_at(struct auth *au, struct db *db, enum revoke_kind kind,
                        struct str id, int64_t at_ms, int64_t now_ms,
                        struct revoke_batch *batch)
{
	/* Tokens issued a moment from now by another replica, whose clock may
	 * be ahead, are covered by the grace. */
	int64_t until = now_ms + au->token_ttl_s * 1000 + SIGNING_GRACE_MS;

	return revoke_add(db, kind, id, at_ms, until, batch);
}

void auth_committed(struct auth *au, const struct revoke_batch *batch)
{
	AUTO_BUF frame = {0};

	au->conf.kick(au->conf.arg);
	if (batch->n == 0)
		return;
	revoke_pack(&frame, batch);
	/* Without memory the gateways find the rows when they poll. */
	if (!frame.failed)
		au->conf.push(au->conf.arg, buf_view(&frame));
}

/* --- upkeep --------------------------------------------------------------- */

struct flush {
	struct auth *au;
	size_t n, seen_n;
	struct used_note note[USED_MAX], seen[USED_MAX];
};

/* A db_fn. */
static enum err write_used(struct db *db, void *arg)
{
	const struct flush *f = arg;
	enum err e = OK;

	for (size_t i = 0; !e && i < f->n; i++)
		e = key_used(db, str_from(f->note[i].id), f->note[i].at_ms);
	for (size_t i = 0; !e && i < f->seen_n; i++)
		e = session_seen(f->au, db, str_from(f->seen[i].id),
		                 f->seen[i].at_ms);
	return e;
}

static enum err flush_used(struct auth *au, struct ctx *cx)
{
	struct flush *f = arena_alloc(cx->arena, sizeof(*f));

	if (!f)
		return ERR_NOMEM;
	f->au = au;
	f->n = used_take(&au->used, f->note);
	f->seen_n = used_take(&au->seen, f->seen);
	/* A failure loses the notes: the next use of each makes it anew. */
	return f->n || f->seen_n ? db_write(au->conf.pool, cx, write_used, f)
	                         : OK;
}

/* A db_fn: arg is the time. */
static enum err prune_rows(struct db *db, void *arg)
{
	const int64_t *now_ms = arg;
	const struct db_val past[] = {DB_I64(*now_ms)};
	const struct db_val old[] = {DB_I64(*now_ms - KEY_KEEP_MS),
	                             DB_I64(*now_ms - KEY_KEEP_MS)};
	enum err e = db_run(db, STMT(REVOKE_PRUNE), past, 1, NULL);

	if (!e)
		e = db_run(db, STMT(CHALLENGE_PRUNE), past, 1, NULL);
	if (!e)
		e = db_run(db, STMT(KEY_PRUNE), old, 2, NULL);
	return e ? e : throttle_prune(db, *now_ms);
}

void auth_upkeep(struct auth *au, struct ctx *cx, unsigned tasks,
                 int64_t now_ms)
{
	enum err keys = OK, used = OK, prune = OK, failed = OK;

	if (tasks & TASK_KEYS)
		keys = signing_turn(au->signing, cx, now_ms);
	if (tasks & TASK_KEYS && au->conf.root)
		root_key_look(au->conf.root, au->conf.pool, cx);
	if (tasks & TASK_USED)
		used = flush_used(au, cx);
	if (tasks & TASK_PRUNE)
		prune = db_write(au->conf.pool, cx, prune_rows, &now_ms);
	if (tasks & (TASK_FAILED | TASK_LAST))
		failed = audit_flush_failed(au, cx, now_ms, tasks & TASK_LAST);
	if (keys || used || prune || failed)
		log_warn(cx, "auth.upkeep_failed",
		         LOG_TEXT("signing_keys", err_name(keys)),
		         LOG_TEXT("key_use", err_name(used)),
		         LOG_TEXT("prune", err_name(prune)),
		         LOG_TEXT("failed_logins", err_name(failed)));
}
