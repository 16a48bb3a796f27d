#include "common/service/dispatch_inner.h"

#include <assert.h>
#include <stdlib.h>

static const struct method builtins[] = {
	[BUILTIN_EVENTS] = {.name = "event.apply",
                            .lane = LANE_DB,
                            .caller = CALL_SERVICE,
                            .again = AGAIN_RETRY},
	[BUILTIN_HEALTH] = {.name = "service.health",
                            .lane = LANE_INLINE,
                            .caller = CALL_SERVICE,
                            .again = AGAIN_READ},
	[BUILTIN_STATS] = {.name = "service.stats",
                           .lane = LANE_INLINE,
                           .caller = CALL_ADMIN,
                           .again = AGAIN_READ},
	[BUILTIN_CONTROL] = {.name = "service.control",
                             .lane = LANE_DB,
                             .caller = CALL_ADMIN,
                             .again = AGAIN_RETRY},
	[BUILTIN_ERASE] = {.name = "service.erase",
                           .lane = LANE_DB,
                           .caller = CALL_SERVICE,
                           .again = AGAIN_RETRY},
	[BUILTIN_SCAN] = {.name = "service.scan",
                          .lane = LANE_SLOW,
                          .caller = CALL_SERVICE,
                          .again = AGAIN_READ},
};

static int by_name(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	return strcmp(x->m->name, y->m->name);
}

static int name_of(const void *key, const void *member)
{
	const struct str *name = key;
	const struct row *row = member;
	size_t n = strlen(row->m->name);
	int c = memcmp(name->p, row->m->name, name->n < n ? name->n : n);

	return c ? c : (name->n > n) - (name->n < n);
}

struct row *dispatch_find(struct dispatch *d, struct str name)
{
	/* An absent op has no bytes to compare. */
	return name.n ? bsearch(&name, d->rows, d->rows_n, sizeof(d->rows[0]),
	                        name_of)
	              : NULL;
}

enum lane dispatch_lane_of(const struct method *m)
{
	return m->lane == LANE_READ ? LANE_DB : m->lane;
}

bool dispatch_takes_key(const struct dispatch *d, const struct method *m)
{
	return d->conf.idem && m->run && m->again != AGAIN_READ &&
	       m->caller != CALL_SERVICE;
}

static bool takes_secrets(const struct method *m)
{
	for (size_t i = 0; i < m->fields_n; i++)
		if (m->fields[i].type == FIELD_SECRET)
			return true;
	return false;
}

void dispatch_fill_rows(struct dispatch *d)
{
	for (size_t i = 0; i < d->conf.methods_n; i++)
		d->rows[d->rows_n++].m = &d->conf.methods[i];
	for (size_t i = 0; i < BUILTIN_COUNT; i++) {
		if (!d->conf.builtin[i])
			continue;
		d->rows[d->rows_n].builtin = d->conf.builtin[i];
		d->rows[d->rows_n++].m = &builtins[i];
	}
	qsort(d->rows, d->rows_n, sizeof(d->rows[0]), by_name);
	for (size_t i = 0; i < d->rows_n; i++) {
		const struct method *m = d->rows[i].m;
		enum lane lane = dispatch_lane_of(m);

		assert(i == 0 || by_name(&d->rows[i - 1], &d->rows[i]) != 0);
		/* Looking for a stored answer blocks. */
		assert(lane == LANE_INLINE ? !dispatch_takes_key(d, m)
		                           : d->conf.lanes[lane] != NULL);
		/* Its handler is run twice. */
		assert(m->lane != LANE_READ || m->again == AGAIN_READ);
		d->rows[i].secrets = takes_secrets(m);
		assert(!d->rows[i].secrets ||
		       (m->lane != LANE_INLINE && d->conf.lanes[LANE_SLOW]));
	}
}

bool dispatch_serves(struct dispatch *d, const struct row *row)
{
	return atomic_load(&d->serving) ||
	       (row && row->m == &builtins[BUILTIN_HEALTH]);
}
