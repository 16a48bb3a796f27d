#include "gateway/limit.h"

#include "common/base/clock.h"
#include "common/base/decimal.h"
#include "gateway/limit_table.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define SECOND_NS 1000000000U
#define TIERS     (TIER_UNLIMITED + 1)

/* GUEST: the address, of whoever has no login. */
enum counts { COUNTS_ADDRESS, COUNTS_PERSON, COUNTS_KEY, COUNTS_GUEST };
enum unit { IN_REQUESTS, IN_TOKENS };

static const struct policy {
	const char *name;
	unsigned window_s;
	enum counts counts;
	enum unit unit;
} policies[LIMIT_POLICIES] = {
#define LIMIT(id, name, seconds, counts, in) \
	{name, seconds, COUNTS_##counts, IN_##in},
#include "gateway/limit.def"
#undef LIMIT
};

#define BIT(policy) (1U << LIMIT_##policy)

/* What counts for a route besides the address. */
static const unsigned by_rate[RATE_COUNT] = {
	[RATE_HEALTH] = 0,
	[RATE_READ] = BIT(READ) | BIT(KEY),
	[RATE_WRITE] = BIT(WRITE) | BIT(KEY) | BIT(VISITOR),
	[RATE_LOGIN] = BIT(LOGIN) | BIT(KEY),
	[RATE_GENERATE] = BIT(GENERATE) | BIT(TOKENS) | BIT(KEY),
	[RATE_EXPORT] = BIT(WRITE) | BIT(KEY),
	[RATE_PRIVACY] = BIT(WRITE) | BIT(KEY),
	[RATE_ADMIN] = BIT(READ) | BIT(KEY),
	/* What a browser tells of itself is no write of its person's. */
	[RATE_INGEST] = BIT(VISITOR),
};

#define LEASES 20 /* of a quota */

/* Classes that are worth a look at what the others have counted. */
static bool is_costly(enum rate r)
{
	return r == RATE_LOGIN || r == RATE_GENERATE || r == RATE_EXPORT ||
	       r == RATE_PRIVACY;
}

struct limits {
	struct limit_table *table;
	struct limit_shared *shared; /* or NULL */
	limit_answered_fn *answered;
	void *answered_arg;
	uint64_t quota[LIMIT_POLICIES][TIERS]; /* 0: no limit */
	_Atomic uint64_t taken[LIMIT_POLICIES], refused[LIMIT_POLICIES];
	_Atomic uint64_t unheard;
};

const char *limit_name(enum limit_policy p)
{
	return policies[p].name;
}

static void same_for_all(struct limits *l, enum limit_policy p, uint64_t quota)
{
	for (size_t t = 0; t < TIERS; t++)
		l->quota[p][t] = quota;
}

static void read_quotas(struct limits *l, const struct settings *c)
{
#define TIER(T, t)                                               \
	l->quota[LIMIT_GENERATE][TIER_##T] = c->quota_##t##_rpm; \
	l->quota[LIMIT_TOKENS][TIER_##T] = c->quota_##t##_tpm
	TIER(LIMITED, limited);
	TIER(FREE, free);
	TIER(BASIC, basic);
	TIER(PREMIUM, premium);
	TIER(UNLIMITED, unlimited);
#undef TIER
	same_for_all(l, LIMIT_ADDRESS, c->rate_limit_ip);
	same_for_all(l, LIMIT_READ, c->rate_limit_read);
	same_for_all(l, LIMIT_WRITE, c->rate_limit_write);
	same_for_all(l, LIMIT_LOGIN, c->rate_limit_login);
	same_for_all(l, LIMIT_KEY, c->rate_limit_key);
	same_for_all(l, LIMIT_VISITOR, c->rate_limit_visitor);
}

struct limits *limits_new(const struct settings *conf)
{
	AUTO(limits) l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	if (conf->rate_limit_enabled)
		read_quotas(l, conf);
	l->table = limit_table_new(LIMIT_BUCKETS);
	return l->table ? STEAL(l) : NULL;
}

void limits_free(struct limits *l)
{
	if (!l)
		return;
	limit_shared_free(l->shared); /* it answers into the table */
	limit_table_free(l->table);
	free(l);
}

/* --- deciding ------------------------------------------------------------------- */

/* A policy as it meets one request. */
struct meeting {
	uint64_t quota; /* 0: it does not */
	struct gcra rule;
	struct limit_key key;
};

bool limits_are_shared(const struct limits *l)
{
	return l->shared && limit_shared_up(l->shared);
}

/* 0: no limit, or it does not count who asks. */
static uint64_t quota_of(const struct limits *l, enum limit_policy p,
                         const struct limit_who *who)
{
	enum counts counts = policies[p].counts;

	if ((counts == COUNTS_PERSON && who->sub.n == 0) ||
	    (counts == COUNTS_KEY && who->key.n == 0) ||
	    (counts == COUNTS_GUEST && who->sub.n > 0))
		return 0;
	return l->quota[p][who->tier];
}

static bool by_address(enum limit_policy p)
{
	return policies[p].counts == COUNTS_ADDRESS ||
	       policies[p].counts == COUNTS_GUEST;
}

static struct meeting meet(const struct limits *l, enum limit_policy p,
                           const struct limit_who *who)
{
	const struct policy *pol = &policies[p];
	struct addr net = addr_network(&who->client);
	struct str subject = who->sub;
	struct meeting m = {.quota = quota_of(l, p, who)};

	if (m.quota == 0)
		return m;
	if (by_address(p))
		subject = (struct str){(const char *)net.b, sizeof(net.b)};
	else if (pol->counts == COUNTS_KEY)
		subject = who->key;
	m.rule = gcra_of(m.quota, pol->window_s);
	m.key = limit_key_of(l->table, p, subject);
	return m;
}

static unsigned seconds_up(uint64_t ns)
{
	uint64_t s = (ns + SECOND_NS - 1) / SECOND_NS;

	return s > UINT32_MAX ? UINT32_MAX : (unsigned)s;
}

static struct limit_item item_of(enum limit_policy p, const struct meeting *m,
                                 uint64_t tat_ns, uint64_t now_ns)
{
	struct limit_item it = {
		.policy = p,
		.quota = m->quota,
		.left = gcra_left(&m->rule, tat_ns, now_ns),
		.window_s = policies[p].window_s,
	};

	it.reset_s =
		seconds_up(it.left ? gcra_full_ns(tat_ns, now_ns)
	                           : gcra_wait_ns(&m->rule, tat_ns, now_ns, 1));
	return it;
}

static uint64_t units_of(enum limit_policy p)
{
	return policies[p].unit == IN_TOKENS ? 0 : 1;
}

/* The name of the bucket in Redis, where its time makes it vanish. */
static void name_in_redis(enum limit_policy p, const struct limit_who *who,
                          char out[LIMIT_NAME_MAX])
{
	struct addr net = addr_network(&who->client);
	char text[ADDR_TEXT_MAX];
	struct str subject = who->sub;

	if (by_address(p))
		subject = addr_text(&net, text);
	else if (policies[p].counts == COUNTS_KEY)
		subject = who->key;
	(void)snprintf(out, LIMIT_NAME_MAX, "kae:limit:1:%s:%.*s",
	               policies[p].name, STR_FMT(subject));
}

static struct limit_cost cost_of(enum limit_policy p, const struct meeting *m,
                                 const struct limit_who *who, uint64_t n)
{
	struct limit_cost c = {.key = m->key, .rule = m->rule, .n = n};

	name_in_redis(p, who, c.name);
	return c;
}

/* Tells the others what has been used here. */
static void tell(struct limits *l, enum limit_policy p, const struct meeting *m,
                 const struct limit_who *who, uint64_t n, uint64_t now_ns)
{
	const struct limit_question q = {.used = true,
	                                 .n = 1,
	                                 .cost = {cost_of(p, m, who, n)}};

	if (!limit_shared_ask(l->shared, &q))
		limit_table_heard(l->table, m->key, &m->rule, now_ns, true,
		                  false, 0);
}

static unsigned lease_of(uint64_t quota)
{
	return quota < LEASES ? 1 : (unsigned)(quota / LEASES);
}

/* One request on its way through the policies that count it. */
struct pass {
	struct meeting met;
	struct limit_taken taken;
};

static void undo(struct limits *l, const struct pass *passed,
                 struct limit_item *items, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t units = units_of(items[i].policy);

		limit_table_give_back(l->table, passed[i].met.key,
		                      &passed[i].met.rule, units,
		                      passed[i].taken.tell > 0);
		items[i].left += units;
	}
}

/* Takes from each policy of the set, or from none.  lease: others are told in
 * the background, not asked. */
static bool take(struct limits *l, unsigned set, const struct limit_who *who,
                 uint64_t now_ns, bool lease, struct limit_decision *d)
{
	struct pass passed[LIMIT_ITEMS];
	struct limit_item *items = &d->items[d->n];
	size_t n = 0;

	for (unsigned i = 0; i < LIMIT_POLICIES; i++) {
		enum limit_policy p = (enum limit_policy)i;
		struct pass *at = &passed[n];
		bool ok;

		if (!(set & 1U << i))
			continue;
		at->met = meet(l, p, who);
		if (at->met.quota == 0)
			continue;
		assert(d->n < LIMIT_ITEMS);
		ok = limit_table_take(l->table, at->met.key, &at->met.rule,
		                      now_ns, units_of(p),
		                      lease ? lease_of(at->met.quota) : 0,
		                      &at->taken);
		items[n] = item_of(p, &at->met, at->taken.tat_ns, now_ns);
		d->n++;
		atomic_fetch_add_explicit(ok ? &l->taken[p] : &l->refused[p], 1,
		                          memory_order_relaxed);
		if (!ok) {
			d->refused = true;
			if (at->taken.leased_out) {
				items[n].left = 0;
				items[n].reset_s = 1;
			}
			undo(l, passed, items, n);
			return false;
		}
		n++;
	}
	for (size_t i = 0; i < n; i++)
		if (passed[i].taken.tell)
			tell(l, items[i].policy, &passed[i].met, who,
			     passed[i].taken.tell, now_ns);
	return true;
}

/* Whether the class is asked about, not told. */
static bool is_asked(const struct limits *l, const struct limit_who *who,
                     enum rate rate)
{
	if (is_costly(rate))
		return true;
	for (unsigned i = 0; i < LIMIT_POLICIES; i++) {
		uint64_t quota =
			by_rate[rate] & 1U << i ? quota_of(l, i, who) : 0;

		if (quota && lease_of(quota) == 1)
			return true;
	}
	return false;
}

bool limits_address(struct limits *l, const struct limit_who *who,
                    enum rate rate, bool here_only, uint64_t now_ns,
                    struct limit_decision *d)
{
	bool lease = limits_are_shared(l) && !here_only;

	return rate == RATE_HEALTH ||
	       take(l, BIT(ADDRESS), who, now_ns, lease, d);
}

bool limits_class(struct limits *l, const struct limit_who *who, enum rate rate,
                  uint64_t now_ns, struct limit_decision *d)
{
	bool lease = limits_are_shared(l) && !is_asked(l, who, rate);

	return take(l, by_rate[rate], who, now_ns, lease, d);
}

/* --- together with others --------------------------------------------------------- */

static void answered(void *arg, const struct limit_question *q,
                     const struct limit_answer *a)
{
	struct limits *l = arg;
	const struct limit_cost *c = &q->cost[0];

	if (q->asker)
		l->answered(l->answered_arg, q, a);
	else if (q->n)
		limit_table_heard(l->table, c->key, &c->rule, mono_us() * 1000,
		                  true, a->known, a->owed_ns[0]);
}

bool limits_share(struct limits *l, const struct limit_shared_conf *conf)
{
	struct limit_shared_conf ours = *conf;

	l->answered = conf->answered;
	l->answered_arg = conf->arg;
	ours.answered = answered;
	ours.arg = l;
	l->shared = limit_shared_new(&ours);
	return l->shared != NULL;
}

bool limits_ask(struct limits *l, const struct limit_who *who, enum rate rate,
                void *asker, uint64_t serial)
{
	struct limit_question q = {.asker = asker, .serial = serial};

	if (!limits_are_shared(l) || !is_asked(l, who, rate))
		return false;
	for (unsigned i = 0; i < LIMIT_POLICIES; i++) {
		enum limit_policy p = (enum limit_policy)i;
		struct meeting m = {0};

		if (by_rate[rate] & 1U << i)
			m = meet(l, p, who);
		if (m.quota)
			q.cost[q.n++] = cost_of(p, &m, who, units_of(p));
	}
	return q.n > 0 && limit_shared_ask(l->shared, &q);
}

bool limits_settle(struct limits *l, const struct limit_who *who,
                   enum rate rate, uint64_t now_ns,
                   const struct limit_answer *a, struct limit_decision *d)
{
	size_t n = 0, last = d->n;
	struct limit_item *items = d->items;

	if (!a->known) {
		atomic_fetch_add(&l->unheard, 1);
		return true;
	}
	/* What the class has added to *d is at its end, in this order. */
	for (unsigned i = 0; i < LIMIT_POLICIES; i++)
		n += by_rate[rate] & 1U << i && meet(l, i, who).quota > 0;
	assert(n <= last);
	items += last - n;
	for (size_t i = 0; i < n; i++) {
		enum limit_policy p = items[i].policy;
		struct meeting m = meet(l, p, who);

		if (a->refused)
			limit_table_give_back(l->table, m.key, &m.rule,
			                      units_of(p), false);
		limit_table_heard(l->table, m.key, &m.rule, now_ns, false, true,
		                  a->owed_ns[i]);
		items[i] = item_of(p, &m, now_ns + a->owed_ns[i], now_ns);
		if (a->refused != i + 1)
			continue;
		d->refused = true;
		last = last - n + i + 1;
		atomic_fetch_add_explicit(&l->refused[p], 1,
		                          memory_order_relaxed);
	}
	d->n = last;
	return !d->refused;
}

void limits_tokens(struct limits *l, const struct limit_who *who,
                   uint64_t tokens, uint64_t now_ns)
{
	struct meeting m = meet(l, LIMIT_TOKENS, who);

	if (m.quota == 0)
		return;
	limit_table_charge(l->table, m.key, &m.rule, now_ns, tokens);
	if (limits_are_shared(l))
		tell(l, LIMIT_TOKENS, &m, who, tokens, now_ns);
}

/* --- telling --------------------------------------------------------------------- */

enum err limit_refuse(struct ctx *cx, const struct limit_decision *d)
{
	const struct limit_item *it = &d->items[d->n - 1];
	const struct policy *pol = &policies[it->policy];
	unsigned wait_s = it->reset_s ? it->reset_s : 1;
	enum err e;

	assert(d->refused && d->n);
	e = ctx_fail(cx, pol->unit == IN_TOKENS ? ERR_QUOTA : ERR_RATE_LIMITED,
	             "No more than %llu %s a minute are allowed here. Try "
	             "again in %u second%s.",
	             (unsigned long long)it->quota,
	             pol->unit == IN_TOKENS ? "tokens" : "requests", wait_s,
	             wait_s == 1 ? "" : "s");
	cx->problem.retry_after_s = wait_s;
	return e;
}

const struct limit_item *limit_tightest(const struct limit_decision *d)
{
	const struct limit_item *t = d->n ? &d->items[d->n - 1] : NULL;

	for (size_t i = 0; i < d->n && !d->refused; i++)
		if (d->items[i].left < t->left)
			t = &d->items[i];
	return t;
}

static void put(char **at, const char *text)
{
	size_t n = strlen(text);

	memcpy(*at, text, n + 1);
	*at += n;
}

static void put_number(char **at, const char *before, uint64_t v)
{
	put(at, before);
	*at += decimal_write(*at, v);
}

/* One whole item is no longer than this. */
#define NAME_MAX_N 32
#define ITEM_MAX   (NAME_MAX_N + 2 * DECIMAL_MAX + 32)
#define LIMIT(id, name, seconds, counts, in)       \
	_Static_assert(sizeof(name) <= NAME_MAX_N, \
	               "longer than an item may be");
#include "gateway/limit.def"
#undef LIMIT

/* What may no longer fit is left out whole. */
static void write_each(const struct limit_decision *d, bool policy, char *out)
{
	char *at = out, *end = out + LIMIT_HEADER_MAX;

	*at = '\0';
	for (size_t i = 0; i < d->n && end - at > ITEM_MAX; i++) {
		const struct limit_item *it = &d->items[i];
		const struct policy *pol = &policies[it->policy];

		put(&at, at > out ? ", \"" : "\"");
		put(&at, pol->name);
		if (policy) {
			put_number(&at, "\";q=", it->quota);
			put_number(&at, ";w=", pol->window_s);
			/* The draft's units have no tokens of a model. */
			if (pol->unit == IN_TOKENS)
				put(&at, ";kae-unit=\"tokens\"");
		} else {
			put_number(&at, "\";r=", it->left);
			put_number(&at, ";t=", it->reset_s);
		}
	}
}

void limit_write_policy(const struct limit_decision *d,
                        char out[LIMIT_HEADER_MAX])
{
	write_each(d, true, out);
}

void limit_write_left(const struct limit_decision *d,
                      char out[LIMIT_HEADER_MAX])
{
	write_each(d, false, out);
}

void limits_figures(const struct limits *l, struct limit_figures *out)
{
	for (size_t i = 0; i < LIMIT_POLICIES; i++) {
		out->of[i].taken = atomic_load_explicit(&l->taken[i],
		                                        memory_order_relaxed);
		out->of[i].refused = atomic_load_explicit(&l->refused[i],
		                                          memory_order_relaxed);
	}
	out->evicted = limit_table_evicted(l->table);
	out->unheard = atomic_load(&l->unheard);
	out->outages = l->shared ? limit_shared_outages(l->shared) : 0;
}
