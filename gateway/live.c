#include "gateway/live.h"

#include "common/base/clock.h"
#include "common/base/guard.h"
#include "common/base/log.h"

#include <stdio.h>
#include <stdlib.h>

/* Most certificates are renewed when a third of 90 days is left. */
#define EXPIRES_SOON_S ((int64_t)14 * 86400)

static bool fill(struct live *l, const struct settings *conf,
                 char why[LIVE_WHY_MAX])
{
	const char *cors_why = NULL;

	l->cors = cors_new(conf, &cors_why);
	if (!l->cors) {
		(void)snprintf(why, LIVE_WHY_MAX, "%s", cors_why);
		return false;
	}
	if (conf->ssl_certfile.n == 0 && conf->ssl_keyfile.n == 0)
		return true;
	if (conf->ssl_certfile.n == 0 || conf->ssl_keyfile.n == 0) {
		(void)snprintf(why, LIVE_WHY_MAX,
		               "%s: must be set too, or neither",
		               conf->ssl_certfile.n ? "SSL_KEYFILE"
		                                    : "SSL_CERTFILE");
		return false;
	}
	l->tls = tls_new(conf->ssl_certfile.p, conf->ssl_keyfile.p, why);
	return l->tls != NULL;
}

struct live *live_new(const struct settings *conf, const struct bus_keys *keys,
                      char why[LIVE_WHY_MAX])
{
	AUTO(live) l = calloc(1, sizeof(*l));

	(void)snprintf(why, LIVE_WHY_MAX, "out of memory");
	if (!l)
		return NULL;
	atomic_store(&l->refs, 1);
	if (keys)
		l->keys = *keys;
	return fill(l, conf, why) ? STEAL(l) : NULL;
}

struct live *live_get(struct live *l)
{
	atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
	return l;
}

void live_put(struct live *l)
{
	if (!l || atomic_fetch_sub(&l->refs, 1) > 1)
		return;
	cors_free(l->cors);
	tls_free(l->tls);
	explicit_bzero(&l->keys, sizeof(l->keys));
	free(l);
}

/* --- the board ----------------------------------------------------------------- */

void live_board_init(struct live_board *b)
{
	*b = (struct live_board){.now = NULL};
	(void)pthread_mutex_init(&b->lock, NULL);
}

void live_board_fini(struct live_board *b)
{
	live_put(b->now);
	b->now = NULL;
	(void)pthread_mutex_destroy(&b->lock);
}

static struct live *swap(struct live_board *b, struct live *l)
{
	GUARD(&b->lock);
	struct live *old = b->now;

	b->now = l;
	atomic_fetch_add(&b->n, 1);
	return old;
}

void live_put_up(struct live_board *b, struct live **taken)
{
	live_put(swap(b, STEAL(*taken)));
}

struct live *live_newest(struct live_board *b)
{
	GUARD(&b->lock);

	return live_get(b->now);
}

bool live_follow(struct live_board *b, struct live **mine, unsigned *seen)
{
	unsigned n = atomic_load_explicit(&b->n, memory_order_acquire);

	if (n == *seen)
		return false;
	/* It may be newer than n says; then it is taken once more. */
	live_put(*mine);
	*mine = live_newest(b);
	*seen = n;
	return true;
}

/* --- reload ------------------------------------------------------------------------ */

void live_tell(const struct live *l)
{
	const struct tls *t = l->tls;
	int64_t now_s = wall_ms() / 1000;
	const char *wrong = t ? tls_why_not_now(t, now_s) : NULL;
	char until[CLOCK_ISO_MAX];

	if (!t)
		return;
	(void)clock_iso(t->not_after_s * 1000, until);
	if (wrong)
		log_error(NULL, "tls.certificate_not_valid",
		          LOG_TEXT("reason", wrong),
		          LOG_TEXT("serial", t->serial),
		          LOG_TEXT("not_after", until));
	else if (t->not_after_s - now_s < EXPIRES_SOON_S)
		log_warn(NULL, "tls.certificate_expires_soon",
		         LOG_TEXT("serial", t->serial),
		         LOG_TEXT("not_after", until));
	else
		log_info(NULL, "tls.certificate", LOG_TEXT("serial", t->serial),
		         LOG_TEXT("not_after", until));
}

/* The daemons of the loops are made for one or the other, so no fresh one has a
 * certificate where the old one has none. */
static bool may_replace(const struct live *l, char why[LIVE_WHY_MAX])
{
	const char *wrong =
		l->tls ? tls_why_not_now(l->tls, wall_ms() / 1000) : NULL;

	if (wrong)
		(void)snprintf(why, LIVE_WHY_MAX,
		               "SSL_CERTFILE: the certificate %s", wrong);
	return !wrong;
}

bool live_reload(struct live_board *b, const struct settings *conf,
                 const struct bus_keys *keys)
{
	char why[LIVE_WHY_MAX];
	AUTO(live) fresh = live_new(conf, keys, why);
	bool fine = fresh && may_replace(fresh, why);

	atomic_store(&b->last_refused, !fine);
	if (!fine) {
		atomic_fetch_add(&b->refused, 1);
		log_error(NULL, "gateway.reload_refused",
		          LOG_TEXT("reason", why));
		return false;
	}
	live_tell(fresh);
	live_put_up(b, &fresh);
	log_info(NULL, "gateway.reloaded");
	return true;
}
