/*
 * fuzz_fields - whatever a request holds, the struct of a handler is within its
 * table's bounds, or there is a fault to tell.
 *
 * An input that begins with '{' or '[' is read as JSON, others as msgpack; the
 * same bytes are body, query and path.
 */
#include "common/base/utf8.h"
#include "common/codec/fields.h"
#include "common/codec/json.h"
#include "common/codec/text.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool claim)
{
	if (!claim)
		abort();
}

struct in {
	struct str text, trim, line, loose, any;
	struct strs lines;
	struct file file;
	int64_t whole, q_whole;
	double num, q_num;
	bool yes, q_yes;
};

#define ROW(from, type, name, required, min, max)                           \
	{                                                                   \
#name, FROM_##from, FIELD_##type, required, min, max, NULL, \
			min, offsetof(struct in, name)                      \
	}

static const struct field table[] = {
	ROW(BODY, TEXT, text, false, 0, 8),
	ROW(BODY, TRIM, trim, false, 1, 8),
	ROW(BODY, LINE, line, true, 1, 8),
	ROW(BODY, LOOSE, loose, false, 1, 8),
	ROW(BODY, ANY, any, false, 0, 64),
	ROW(BODY, LINES, lines, false, 1, 4),
	ROW(BODY, FILE, file, false, 1, 8),
	ROW(BODY, INT, whole, false, -3, 20),
	ROW(BODY, NUM, num, false, -3, 20),
	ROW(BODY, BOOL, yes, false, 0, 1),
	ROW(QUERY, INT, q_whole, false, -3, 20),
	ROW(QUERY, NUM, q_num, false, -3, 20),
	ROW(PATH, BOOL, q_yes, false, 0, 1),
};

static void text_holds(struct str s, bool line, size_t min, size_t max)
{
	size_t n;

	if (!s.p)
		return;
	check(text_check(s, line, &n));
	check(n >= min && n <= max);
}

static void holds(const struct in *in)
{
	text_holds(in->text, false, 0, 8);
	text_holds(in->trim, false, 1, 8);
	text_holds(in->line, true, 1, 8);
	text_holds(in->loose, false, 1, 8);
	check(in->line.p);
	check(in->any.n <= 64);
	check(in->lines.n <= 4);
	check(!in->file.data.p ||
	      (in->file.data.n >= 1 && in->file.data.n <= 8));
	for (size_t i = 0; i < in->lines.n; i++)
		text_holds(in->lines.v[i], true, 1, 200);
	check(in->whole >= -3 && in->whole <= 20);
	check(in->num >= -3 && in->num <= 20);
	check(in->q_whole >= -3 && in->q_whole <= 20);
	check(in->q_num >= -3 && in->q_num <= 20);
}

static void tells(const struct problem *pb)
{
	check(pb->code == ERR_INVALID && pb->faults_n > 0);
	check(pb->faults_n <= CTX_FAULTS_MAX && pb->detail[0]);
	for (size_t i = 0; i < pb->faults_n; i++)
		check(pb->faults[i].code && pb->faults[i].message[0] &&
		      utf8_valid(str_from(pb->faults[i].message)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str bytes = {(const char *)data, size};
	AUTO(arena) a = arena_new(1 << 16);
	struct ctx cx = {.arena = a};
	struct json_error at;
	AUTO_BUF mp = {0};
	struct in in;
	enum err e;

	if (!a)
		return 0;
	if (size && (data[0] == '{' || data[0] == '[')) {
		if (!json_to_mp(bytes, &mp, &at))
			return 0;
		bytes = buf_view(&mp);
	}
	e = fields_read(&cx, table, COUNTOF(table), bytes, bytes, bytes, &in);
	if (e == OK)
		holds(&in);
	else if (e == ERR_INVALID)
		tells(&cx.problem);
	return 0;
}
