/* Where a call has been: kept for bus_trip, told as spans. */
#include "common/bus/calls.h"

#include "common/base/clock.h"
#include "common/base/trace.h"

#include <assert.h>

/* The place of the attempt that comes next. */
static struct bus_attempt *next(struct bus_trip *t)
{
	return &t->at[t->n < BUS_TRIP_MAX ? t->n : BUS_TRIP_MAX - 1];
}

static uint64_t span_in(const struct buf *bytes, size_t at)
{
	uint64_t id = trace_new_id();

	assert(at + 16 <= bytes->n);
	trace_put_span(id, bytes->p + at);
	return id;
}

void trip_name(struct bus_trip *t, struct buf *bytes)
{
	if (t)
		next(t)->span = t->span_at ? span_in(bytes, t->span_at) : 0;
}

void trip_put(struct bus_trip *t, const char *replica, uint64_t now_us)
{
	struct bus_attempt *a;
	size_t n = strlen(replica);

	if (!t)
		return;
	a = next(t);
	n = n < sizeof(a->replica) ? n : sizeof(a->replica) - 1;
	memcpy(a->replica, replica, n);
	a->replica[n] = '\0';
	a->from_us = now_us;
	a->to_us = 0;
	a->outcome = OK;
	t->attempts++;
	if (t->n < BUS_TRIP_MAX)
		t->n++;
}

void trip_over(struct bus_trip *t, enum err outcome)
{
	struct bus_attempt *a = t && t->n ? &t->at[t->n - 1] : NULL;

	if (!a || a->to_us)
		return;
	a->to_us = mono_us();
	a->outcome = outcome;
}

/* tcp://host:port and ipc:///path, as the conventions want them. */
static void add_address(struct span *s, const char *url)
{
	const char *mark = strstr(url, "://");
	struct str rest = str_from(mark ? mark + 3 : url);
	const char *colon = memrchr(rest.p, ':', rest.n);
	int64_t port;

	if (colon && str_to_i64(str_from(colon + 1), &port)) {
		span_text(s, "server.address",
		          (struct str){rest.p, (size_t)(colon - rest.p)});
		span_number(s, "server.port", port);
		return;
	}
	span_text(s, "server.address", rest);
}

void bus_trip_spans(const struct bus_trip *t, const struct span *parent,
                    enum bus_peer to, struct str method)
{
	struct span s;

	for (unsigned i = 0; i < t->n; i++) {
		const struct bus_attempt *a = &t->at[i];

		if (!a->span || !span_begin(&s, parent, SPAN_CLIENT, ""))
			continue;
		span_name(&s, method);
		s.own.span = a->span;
		s.start_us = a->from_us;
		span_text(&s, "rpc.system", STR("kae"));
		span_text(&s, "rpc.service", str_from(bus_peer_name(to)));
		span_text(&s, "rpc.method", method);
		add_address(&s, a->replica);
		if (t->attempts > 1)
			span_number(&s, "kae.attempt",
			            i + 1 < BUS_TRIP_MAX ? i + 1 : t->attempts);
		if (!a->to_us)
			span_fail(&s, "cancelled");
		else if (a->outcome)
			span_fail(&s, err_name(a->outcome));
		span_end_at(&s, a->to_us ? a->to_us : mono_us());
	}
}
