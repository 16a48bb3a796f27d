/*
 * bus_rogue - a client of the bus that says what the test wants: an nng socket
 * and a link whose frames can be changed before they leave.
 */
#ifndef TESTS_BUS_ROGUE_H
#define TESTS_BUS_ROGUE_H

#include "tests/unit/bus_fixture.h"

#include "common/bus/frame.h"
#include "common/bus/link.h"

#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>

struct rogue {
	nng_socket s;
	struct link link;
	struct bus_keys keys;
	uint32_t pipe;
	atomic_bool gone;
};

static inline nng_msg *receive(struct rogue *r, struct str *frame)
{
	nng_msg *m = NULL;

	if (nng_recvmsg(r->s, &m, 0) != 0)
		return NULL;
	r->pipe = (uint32_t)nng_msg_get_pipe(m).id;
	*frame = (struct str){nng_msg_body(m), nng_msg_len(m)};
	return m;
}

/* True if a good frame came; false when the pipe was closed or was silent. */
static inline bool hears(struct rogue *r)
{
	struct str frame, items;
	nng_msg *m = receive(r, &frame);
	bool ok = m &&
	          link_accept(&r->link, frame, wall_ms(), &items) == FRAME_OK;

	if (m)
		nng_msg_free(m);
	return ok;
}

static inline void note_gone(nng_pipe p, nng_pipe_ev ev, void *arg)
{
	struct rogue *r = arg;

	(void)p;
	(void)ev;
	atomic_store(&r->gone, true);
}

/* The service hangs up; what it said before is looked at. */
static inline void wait_gone(struct rogue *r)
{
	for (uint64_t end = mono_ms() + 5000; !atomic_load(&r->gone);) {
		assert_true(mono_ms() < end);
		(void)usleep(1000);
	}
	(void)nng_socket_set_ms(r->s, NNG_OPT_RECVTIMEO, 1);
}

static inline void dial(struct rogue *r, enum bus_peer self, const char *url,
                        const struct bus_keys *keys)
{
	r->keys = *keys;
	assert_int_equal(nng_req0_open_raw(&r->s), 0);
	(void)nng_socket_set_ms(r->s, NNG_OPT_RECVTIMEO, 1000);
	(void)nng_socket_set_ms(r->s, NNG_OPT_SENDTIMEO, 1000);
	(void)nng_pipe_notify(r->s, NNG_PIPE_EV_REM_POST, note_gone, r);
	/* A closed pipe stays closed for the length of a test. */
	(void)nng_socket_set_ms(r->s, NNG_OPT_RECONNMINT, 60000);
	(void)nng_socket_set_ms(r->s, NNG_OPT_RECONNMAXT, 60000);
	assert_int_equal(nng_dial(r->s, url, NULL, NNG_FLAG_NONBLOCK), 0);
	link_init(&r->link, self, false, PEER_AUTH, &r->keys);
	link_reset(&r->link);
}

/* When nothing more comes: nng 1.5 may hang when it closes a pipe that a message
 * is coming in from. */
static inline void rogue_end(struct rogue *r)
{
	nng_msg *m;

	(void)nng_socket_set_ms(r->s, NNG_OPT_RECVTIMEO, 50);
	while (nng_recvmsg(r->s, &m, 0) == 0)
		nng_msg_free(m);
	link_fini(&r->link);
	(void)nng_close(r->s);
}

/* The next frame of the link; the test may change it before send_frame(). */
static inline nng_msg *next_frame(struct rogue *r)
{
	enum err e;
	nng_msg *m = link_next(&r->link, mono_ms(), &e);

	assert_non_null(m);
	return m;
}

static inline void sign(struct rogue *r, nng_msg *m)
{
	if (r->keys.all.n)
		frame_sign(nng_msg_body(m), nng_msg_len(m), r->keys.all.key[0]);
}

static inline void send_frame(struct rogue *r, nng_msg *m)
{
	assert_int_equal(nng_msg_header_append_u32(m, 0x80000001u), 0);
	if (nng_sendmsg(r->s, m, 0) != 0)
		nng_msg_free(m);
}

static inline void put(struct rogue *r, enum item_kind kind, uint64_t cid,
                       unsigned flags, struct str bytes)
{
	struct item it = {.kind = kind,
	                  .cid = cid,
	                  .flags = flags,
	                  .arg = kind == ITEM_REQUEST || flags & ITEM_FIRST
	                                 ? 5000
	                                 : 0,
	                  .bytes = bytes};

	assert_int_equal(link_put(&r->link, &it, mono_ms()), OK);
}

static inline struct bus_server_stats stats(struct service *sv)
{
	struct bus_server_stats st;

	bus_server_stats(sv->server, &st);
	return st;
}

static inline char *body(nng_msg *m)
{
	return nng_msg_body(m);
}

/* --- a rogue service --------------------------------------------------------- */

static inline void listen_as(struct rogue *r, enum bus_peer self,
                             const char *url, const struct bus_keys *keys)
{
	r->keys = *keys;
	assert_int_equal(nng_rep0_open_raw(&r->s), 0);
	(void)nng_socket_set_ms(r->s, NNG_OPT_RECVTIMEO, 10);
	assert_int_equal(nng_listen(r->s, url, NULL, 0), 0);
	link_init(&r->link, self, true, self, &r->keys);
	link_reset(&r->link);
}

static atomic_uint rogue_pipe;

static inline void note_pipe(nng_pipe p, nng_pipe_ev ev, void *arg)
{
	(void)ev;
	(void)arg;
	atomic_store(&rogue_pipe, (unsigned)nng_pipe_id(p));
}

static inline void answer(struct rogue *r, nng_msg *m)
{
	assert_int_equal(nng_msg_header_append_u32(m, atomic_load(&rogue_pipe)),
	                 0);
	assert_int_equal(nng_msg_header_append_u32(m, 0x80000001u), 0);
	if (nng_sendmsg(r->s, m, 0) != 0)
		nng_msg_free(m);
}

#endif
