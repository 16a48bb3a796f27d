#include "tests/sim/cache_truth.h"

#include "common/cache/remote.h"

#include <assert.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>

/* Deadlines are in whole milliseconds, and fibers nap. */
#define SLACK_US 100000

bool truth_has_tag(const struct truth *t, unsigned key, unsigned tag)
{
	const struct truth_key *k = &t->keys[key];

	for (size_t i = 0; i < k->tags_n; i++)
		if (k->tags[i] == tag)
			return true;
	return false;
}

void truth_write(struct truth *t, unsigned key)
{
	struct truth_key *k = &t->keys[key];

	if (k->versions_n == TRUTH_VERSIONS) {
		fiber_fail("too many versions of one key");
		return;
	}
	k->versions[k->versions_n++] =
		(struct version){.absent = fiber_chance(150),
	                         .commit_us = fiber_now_us(),
	                         .contained_us = FIBER_NEVER};
}

void truth_write_tag(struct truth *t, unsigned tag)
{
	for (unsigned i = 0; i < t->keys_n; i++)
		if (truth_has_tag(t, i, tag))
			truth_write(t, i);
}

void truth_write_all(struct truth *t)
{
	for (unsigned i = 0; i < t->keys_n; i++)
		truth_write(t, i);
}

/* Names, tags and times of this seed. */
void truth_begin(struct truth *t)
{
	t->keys_n = 2 + (unsigned)fiber_random(
				fiber_chance(500) ? 3 : TRUTH_KEYS - 1);
	t->tags_n = 1 + (unsigned)fiber_random(TRUTH_TAGS);
	for (unsigned i = 0; i < t->tags_n; i++)
		(void)snprintf(t->tags[i], sizeof(t->tags[i]), "tag%u", i);
	for (unsigned i = 0; i < t->keys_n; i++) {
		struct truth_key *k = &t->keys[i];

		(void)snprintf(k->name, sizeof(k->name), "key%u", i);
		k->tags_n = (size_t)fiber_random(3);
		for (size_t j = 0; j < k->tags_n; j++)
			k->tags[j] = (unsigned)fiber_random(t->tags_n);
		k->ttl_ms = 2000 + fiber_random(18000);
		k->negative_ttl_ms = 1000 + fiber_random(5000);
		k->stale_ms = fiber_chance(500) ? fiber_random(20000) : 0;
		truth_write(t, i);
		/* Nothing was before it that could have been read. */
		k->versions[0].contained_us = 0;
		k->contained_n = 1;
	}
}

static bool has_slot(const struct truth *t, const struct truth_key *k,
                     unsigned slot)
{
	bool has = slot == CACHE_SLOT_ALL ||
	           remote_slot(str_from(k->name)) == slot;

	for (size_t i = 0; !has && i < k->tags_n; i++)
		has = remote_slot(str_from(t->tags[k->tags[i]])) == slot;
	return has;
}

void truth_raised(struct truth *t, unsigned slot)
{
	for (unsigned i = 0; i < t->keys_n; i++) {
		struct truth_key *k = &t->keys[i];

		if (k->contained_n == k->versions_n || !has_slot(t, k, slot))
			continue;
		while (k->contained_n < k->versions_n)
			k->versions[k->contained_n++].contained_us =
				fiber_now_us();
		fiber_tell("the store contains key%u version %u", i,
		           k->versions_n - 1);
	}
}

unsigned truth_latest(const struct truth *t, unsigned key)
{
	return t->keys[key].versions_n - 1;
}

void truth_forgot(struct truth *t, unsigned owner, unsigned key,
                  unsigned latest)
{
	unsigned *floor = &t->keys[key].floor[owner];

	if (*floor < latest)
		*floor = latest;
}

void truth_process_over(struct truth *t, unsigned owner)
{
	for (unsigned i = 0; i < t->keys_n; i++)
		t->keys[i].floor[owner] = 0;
}

enum err truth_read(const struct truth *t, unsigned key, struct buf *out)
{
	unsigned latest = truth_latest(t, key);

	if (t->keys[key].versions[latest].absent)
		return ERR_NOT_FOUND;
	buf_printf(out, "%u %u %" PRIu64, key, latest, fiber_now_us());
	return OK;
}

/* --- what an answer may say --------------------------------------------------------- */

static uint64_t stretched(const struct truth *t, uint64_t us)
{
	return us + us / 1000000 * t->off_ppm_max + SLACK_US;
}

/* NULL: it may give this version; else the rule that it breaks. */
static const char *broken_rule(const struct truth *t, const struct answer *a,
                               unsigned v, uint64_t read_us)
{
	const struct truth_key *k = &t->keys[a->key];
	const struct version *next = &k->versions[v + 1];
	uint64_t life_ms = (a->negative ? k->negative_ttl_ms : k->ttl_ms) +
	                   (a->stale ? k->stale_ms : 0);

	if (!a->loaded && read_us + stretched(t, life_ms * 1000) < a->began_us)
		return "it is over its time and does not say so";
	if (v + 1 == k->versions_n)
		return NULL;
	if (v < a->floor)
		return "this instance had forgotten it";
	if (next->contained_us == FIBER_NEVER)
		return NULL;
	if (fiber_local_at(a->owner, next->contained_us) / 1000 < a->proof_ms)
		return "it was forgotten before the last proof of being in step";
	if (!a->stale &&
	    next->contained_us + stretched(t, t->degraded_us) < a->began_us)
		return "it was forgotten longer ago than the degraded bound";
	return NULL;
}

/* Any version without a value will do: a negative answer says not which. */
static const char *broken_by_negative(const struct truth *t,
                                      const struct answer *a)
{
	const struct truth_key *k = &t->keys[a->key];
	const char *why = "there was a value at all times";

	for (unsigned v = k->versions_n; v-- > 0;) {
		const struct version *next = &k->versions[v + 1];
		uint64_t until_us =
			v + 1 < k->versions_n ? next->commit_us : a->began_us;

		if (!k->versions[v].absent)
			continue;
		why = broken_rule(t, a, v, until_us);
		if (!why)
			return NULL;
	}
	return why;
}

static bool read_number(struct str *s, uint64_t *out)
{
	struct str word = str_cut(s, ' ');
	int64_t n;

	if (!str_to_i64(word, &n) || n < 0)
		return false;
	*out = (uint64_t)n;
	return true;
}

unsigned truth_check(struct truth *t, const struct answer *a)
{
	const struct truth_key *k = &t->keys[a->key];
	struct str rest = a->bytes;
	uint64_t key = 0, v = 0, read_us = 0;
	const char *why;

	t->answers++;
	t->stale_answers += a->stale;
	if (a->negative) {
		why = broken_by_negative(t, a);
		if (why)
			fiber_fail("i%u said that there is no %s: %s", a->owner,
			           k->name, why);
		return UINT_MAX;
	}
	if (!read_number(&rest, &key) || !read_number(&rest, &v) ||
	    !read_number(&rest, &read_us) || key != a->key ||
	    v >= k->versions_n) {
		fiber_fail("i%u gave for %s what is no value of it: %.*s",
		           a->owner, k->name, (int)a->bytes.n, a->bytes.p);
		return 0;
	}
	t->old_answers += v + 1 < k->versions_n;
	why = broken_rule(t, a, (unsigned)v, read_us);
	if (why)
		fiber_fail("i%u gave version %u of %s, the last is %u%s: %s",
		           a->owner, (unsigned)v, k->name, k->versions_n - 1,
		           a->stale ? " (as stale)" : "", why);
	return (unsigned)v;
}
