/*
 * frame - any bytes: refused, or read and written again to the same bytes; and
 * a link that is given them takes them whole or not at all.
 */
#include "common/bus/link.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_and_write(struct str in)
{
	struct frame_head h;
	struct str items, rest;
	struct item it;
	size_t n, count = 0;
	char *out;

	if (frame_read(in, &h, &items) != FRAME_OK)
		return;
	assert(items.p + items.n == in.p + in.n);
	out = malloc(in.n);
	if (!out)
		return;
	frame_head_put(out, &h);
	n = frame_head_size(h.is_signed);
	/* The MAC is not part of what is read. */
	if (h.is_signed)
		memcpy(out + FRAME_HEAD, in.p + FRAME_HEAD, FRAME_MAC);
	for (rest = items; item_next(&rest, &it); count++) {
		assert(it.bytes.p + it.bytes.n <= in.p + in.n);
		item_head_put(out + n, &it);
		if (it.bytes.n)
			memcpy(out + n + ITEM_HEAD, it.bytes.p, it.bytes.n);
		n += ITEM_HEAD + it.bytes.n;
	}
	assert(count <= BUS_FRAME_ITEMS);
	assert(n == in.n && memcmp(out, in.p, n) == 0);
	items_age(out + (n - items.n), items.n, 5);
	free(out);
}

/* The link's own boots are put in, so that more than the first check is met. */
static void take(struct str in, bool serving)
{
	static const struct bus_keys none;
	enum bus_peer self = serving ? PEER_AUTH : PEER_GATEWAY;
	struct link l;
	struct str items;
	char *p = malloc(in.n ? in.n : 1);

	if (!p)
		return;
	if (in.n)
		memcpy(p, in.p, in.n);
	link_init(&l, self, serving, PEER_AUTH, &none);
	link_reset(&l);
	memcpy(&l.boot, "87654321", 8);
	l.boot = __builtin_bswap64(l.boot);
	if (in.n >= 20 && serving)
		memcpy(p + 12, "87654321", 8);
	if (link_accept(&l, (struct str){p, in.n}, 0, &items) != FRAME_OK) {
		assert(l.seq_in == 0);
		assert(!l.met);
	} else {
		assert(l.met && l.seq_in == 1);
	}
	link_fini(&l);
	free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = {(const char *)data, size};

	read_and_write(in);
	take(in, true);
	take(in, false);
	return 0;
}
