#include "gateway/waiter.h"

#include <stdlib.h>

struct waiter *waiter_new(const struct side side[CRED_KINDS], struct str token,
                          struct str cookie)
{
	struct waiter *w = calloc(1, sizeof(*w) + token.n + cookie.n);

	if (!w)
		return NULL;
	memcpy(w->side, side, sizeof(w->side));
	w->token_n = token.n;
	w->cookie_n = cookie.n;
	if (token.n)
		memcpy(w->text, token.p, token.n);
	if (cookie.n)
		memcpy(w->text + token.n, cookie.p, cookie.n);
	return w;
}

void waiter_free(struct waiter *w)
{
	explicit_bzero(w->text, w->token_n + w->cookie_n);
	free(w);
}

void waiters_add(struct waiters *l, struct waiter *w)
{
	w->next = NULL;
	w->prev = l->last;
	*(l->last ? &l->last->next : &l->first) = w;
	l->last = w;
	l->n++;
}

void waiters_remove(struct waiters *l, struct waiter *w)
{
	*(w->prev ? &w->prev->next : &l->first) = w->next;
	*(w->next ? &w->next->prev : &l->last) = w->prev;
	l->n--;
}

bool waiters_forget(struct waiters *l, const void *arg)
{
	for (struct waiter *w = l->first; w; w = w->next) {
		if (w->arg == arg) {
			waiters_remove(l, w);
			waiter_free(w);
			return true;
		}
	}
	return false;
}

void waiters_free(struct waiters *l)
{
	while (l->first) {
		struct waiter *w = l->first;

		waiters_remove(l, w);
		waiter_free(w);
	}
}
