#include "svc-auth/used.h"

#include <assert.h>

bool used_init(struct used *u)
{
	u->n = 0;
	return pthread_mutex_init(&u->lock, NULL) == 0;
}

void used_fini(struct used *u)
{
	(void)pthread_mutex_destroy(&u->lock);
}

void used_note(struct used *u, struct str id, int64_t last_ms, int64_t now_ms)
{
	assert(id.n == UUID_MAX - 1);
	if (last_ms > now_ms - KEY_USED_EVERY_MS)
		return;

	GUARD(&u->lock);

	for (size_t i = 0; i < u->n; i++)
		if (memcmp(u->note[i].id, id.p, id.n) == 0)
			return;
	if (u->n == USED_MAX)
		return;
	memcpy(u->note[u->n].id, id.p, id.n);
	u->note[u->n].id[id.n] = '\0';
	u->note[u->n].at_ms = now_ms;
	u->n++;
}

size_t used_take(struct used *u, struct used_note *out)
{
	GUARD(&u->lock);
	size_t n = u->n;

	memcpy(out, u->note, n * sizeof(*out));
	u->n = 0;
	return n;
}
