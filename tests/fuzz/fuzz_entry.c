/*
 * fuzz_entry - a request that is read can be packed and read again to the same
 * meaning; nothing of a reply can write a header of its own.
 */
#include "common/base/utf8.h"
#include "common/bus/entry.h"
#include "common/codec/mp.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(const struct ctx *a, const struct ctx *b)
{
	assert(str_eq(a->rid, b->rid) && str_eq(a->tp, b->tp));
	assert(str_eq(a->sub, b->sub) && str_eq(a->hnd, b->hnd));
	assert(str_eq(a->sid, b->sid) && str_eq(a->ip, b->ip));
	assert(str_eq(a->ua, b->ua) && str_eq(a->lang, b->lang));
	assert(str_eq(a->idk, b->idk) && a->role == b->role);
	assert(a->tier == b->tier && a->scopes == b->scopes);
	assert(a->auth_time_s == b->auth_time_s);
}

static void request(struct str in)
{
	struct ctx cx = {0}, again = {0};
	struct entry e, e2;
	AUTO_BUF b = {0};

	if (entry_read(in, &cx, &e) != OK)
		return;
	assert(e.op.n > 0 && e.op.n <= ENTRY_OP_MAX);
	assert(cx.rid.n > 0 && cx.rid.n <= ENTRY_RID_MAX);
	assert(e.body.n == 0 || mp_valid(e.body));
	entry_pack(&b, &cx, &e);
	assert(entry_read(buf_view(&b), &again, &e2) == OK);
	same(&cx, &again);
	assert(str_eq(e.op, e2.op) && str_eq(e.query, e2.query));
	assert(str_eq(e.path, e2.path) && str_eq(e.body, e2.body));
}

static void reply(struct str in)
{
	AUTO(arena) a = arena_new(1 << 16);
	struct ctx cx = {.arena = a};
	struct reply_view v;

	if (!a || reply_read(in, &cx, &v) != OK)
		return;
	assert(v.status >= 200 && v.status < 600);
	assert(v.body.n == 0 || (mp_valid(v.body) && !v.err));
	assert(v.headers_n <= REPLY_HEADERS_MAX);
	for (size_t i = 0; i < v.headers_n; i++) {
		struct str s = v.headers[i].value;

		for (size_t k = 0; k < s.n; k++)
			assert(s.p[k] != '\r' && s.p[k] != '\n' && s.p[k]);
		assert(v.headers[i].name.n > 0);
	}
	assert(utf8_valid(str_from(v.problem.detail)));
	for (size_t i = 0; i < v.problem.faults_n; i++)
		assert(v.problem.faults[i].code);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = {(const char *)data, size};

	request(in);
	reply(in);
	return 0;
}
