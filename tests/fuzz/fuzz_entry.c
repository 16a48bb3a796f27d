/*
 * fuzz_entry - a request that is read can be packed and read again to the same
 * meaning; nothing of a reply can write a header of its own.
 */
#include "common/base/utf8.h"
#include "common/bus/entry.h"
#include "common/codec/mp.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool claim)
{
	if (!claim)
		abort();
}

static void same(const struct ctx *a, const struct ctx *b)
{
	check(str_eq(a->rid, b->rid) && str_eq(a->tp, b->tp));
	check(str_eq(a->sub, b->sub) && str_eq(a->hnd, b->hnd));
	check(str_eq(a->sid, b->sid) && str_eq(a->ip, b->ip));
	check(str_eq(a->ua, b->ua) && str_eq(a->lang, b->lang));
	check(str_eq(a->idk, b->idk) && a->role == b->role);
	check(a->tier == b->tier && a->scopes == b->scopes);
	check(a->auth_time_s == b->auth_time_s);
}

static void request(struct str in)
{
	struct ctx cx = {0}, again = {0};
	struct entry e, e2;
	AUTO_BUF b = {0};

	if (entry_read(in, &cx, &e) != OK)
		return;
	check(e.op.n > 0 && e.op.n <= ENTRY_OP_MAX);
	check(cx.rid.n > 0 && cx.rid.n <= ENTRY_RID_MAX);
	check(e.body.n == 0 || mp_valid(e.body));
	entry_pack(&b, &cx, &e);
	check(entry_read(buf_view(&b), &again, &e2) == OK);
	same(&cx, &again);
	check(str_eq(e.op, e2.op) && str_eq(e.query, e2.query));
	check(str_eq(e.path, e2.path) && str_eq(e.body, e2.body));
}

static void reply(struct str in)
{
	AUTO(arena) a = arena_new(1 << 16);
	struct ctx cx = {.arena = a};
	struct reply_view v;

	if (!a || reply_read(in, &cx, &v) != OK)
		return;
	check(v.status >= 200 && v.status < 600);
	check(v.body.n == 0 || (mp_valid(v.body) && !v.err));
	check(v.headers_n <= REPLY_HEADERS_MAX);
	for (size_t i = 0; i < v.headers_n; i++) {
		struct str s = v.headers[i].value;

		for (size_t k = 0; k < s.n; k++)
			check(s.p[k] != '\r' && s.p[k] != '\n' && s.p[k]);
		check(v.headers[i].name.n > 0);
	}
	check(utf8_valid(str_from(v.problem.detail)));
	for (size_t i = 0; i < v.problem.faults_n; i++)
		check(v.problem.faults[i].code);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = {(const char *)data, size};

	request(in);
	reply(in);
	return 0;
}
