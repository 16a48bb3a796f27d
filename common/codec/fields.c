#include "common/codec/fields.h"

#include "common/codec/json.h"
#include "common/codec/mp.h"
#include "common/codec/text.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#define LINE_ITEM_MAX 200
#define NUM_TEXT_MAX  64
#define WHY_MAX       96

/* One field on its way into the struct. */
struct job {
	struct ctx *cx;
	const struct field *f;
	struct mp in; /* at the value */
	void *slot;
};

/* --- faults -------------------------------------------------------------- */

static enum err fault(const struct job *j, const char *code, const char *why)
{
	const char *name = j->f->name;
	char pointer[72];

	switch (j->f->from) {
	case FROM_BODY:
		(void)snprintf(pointer, sizeof(pointer), "/%s", name);
		break;
	case FROM_QUERY:
		(void)snprintf(pointer, sizeof(pointer), "?%s", name);
		break;
	case FROM_PATH:
		(void)snprintf(pointer, sizeof(pointer), "{%s}", name);
		break;
	}
	return ctx_fault(j->cx, pointer, code, "%s %s.", name, why);
}

static enum err item_fault(const struct job *j, uint32_t item, const char *code,
                           const char *why)
{
	char pointer[72];

	(void)snprintf(pointer, sizeof(pointer), "/%s/%" PRIu32, j->f->name,
	               item);
	return ctx_fault(j->cx, pointer, code, "Each item of %s %s.",
	                 j->f->name, why);
}

/* "must have 1 to 200 characters" */
static const char *amount(char out[WHY_MAX], int64_t min, int64_t max,
                          const char *unit)
{
	if (min == max)
		(void)snprintf(out, WHY_MAX, "must have exactly %" PRId64 " %s",
		               min, unit);
	else if (min == 0)
		(void)snprintf(out, WHY_MAX, "must have at most %" PRId64 " %s",
		               max, unit);
	else
		(void)snprintf(out, WHY_MAX,
		               "must have %" PRId64 " to %" PRId64 " %s", min,
		               max, unit);
	return out;
}

static enum err number_fault(const struct job *j, const char *code,
                             const char *kind)
{
	char why[WHY_MAX];

	(void)snprintf(why, sizeof(why),
	               "must be a %s from %" PRId64 " to %" PRId64, kind,
	               j->f->min, j->f->max);
	return fault(j, code, why);
}

/* --- one value of each type ------------------------------------------------ */

/* What is wrong with a text: a code for details[], or NULL. */
static const char *judge(struct str s, bool line, int64_t min, int64_t max,
                         char why[WHY_MAX])
{
	size_t length;

	if (!text_check(s, line, &length)) {
		(void)snprintf(why, WHY_MAX, "must not contain %s",
		               line ? "control characters, < or >"
		                    : "bytes that are no text");
		return "CHARACTERS";
	}
	if ((int64_t)length >= min && (int64_t)length <= max)
		return NULL;
	(void)amount(why, min, max, "characters");
	return "LENGTH";
}

static enum err read_text(struct job *j)
{
	bool line = j->f->type == FIELD_LINE;
	char why[WHY_MAX];
	const char *code;
	struct str s;

	if (!mp_get_str(&j->in, &s))
		return fault(j, "TYPE", "must be text");
	if (line || j->f->type == FIELD_TRIM)
		s = text_trim(s);
	code = judge(s, line, j->f->min, j->f->max, why);
	if (code)
		return fault(j, code, why);
	*(struct str *)j->slot = s;
	return OK;
}

/* False when a number is not whole or its magnitude is beyond 64 bits. */
static bool whole(double d, int64_t *out)
{
	const double bound = 9223372036854775808.0; /* two to the 63rd */

	if (!(d >= -bound && d < bound) || d != trunc(d))
		return false;
	*out = (int64_t)d;
	return true;
}

static enum err read_int(struct job *j)
{
	static const char kind[] = "whole number";
	struct str text;
	int64_t v;
	double d;
	bool ok;

	if (mp_peek(&j->in) == MP_UINT)
		return number_fault(j, "RANGE", kind);
	if (j->f->from != FROM_BODY && mp_get_str(&j->in, &text))
		ok = str_to_i64(text, &v);
	else
		ok = mp_get_i64(&j->in, &v) ||
		     (mp_get_f64(&j->in, &d) && whole(d, &v));
	if (!ok)
		return number_fault(j, "TYPE", kind);
	if (v < j->f->min || v > j->f->max)
		return number_fault(j, "RANGE", kind);
	*(int64_t *)j->slot = v;
	return OK;
}

/* A number of a query is written as in JSON. */
static enum err number_of_text(struct str text, double *out)
{
	AUTO_BUF packed = {0};
	struct json_error why;
	struct mp m;

	if (text.n == 0 || text.n > NUM_TEXT_MAX)
		return ERR_INVALID;
	if (!json_to_mp(text, &packed, &why))
		return why.nomem ? ERR_NOMEM : ERR_INVALID;
	m = mp_open(buf_view(&packed));
	return mp_get_f64(&m, out) ? OK : ERR_INVALID;
}

static enum err read_num(struct job *j)
{
	struct str text;
	double d = 0;
	enum err e;

	if (j->f->from != FROM_BODY && mp_get_str(&j->in, &text))
		e = number_of_text(text, &d);
	else
		e = mp_get_f64(&j->in, &d) ? OK : ERR_INVALID;
	if (e == ERR_NOMEM)
		return e;
	if (e)
		return number_fault(j, "TYPE", "number");
	/* Written so that NaN is out of range. */
	if (!(d >= (double)j->f->min && d <= (double)j->f->max))
		return number_fault(j, "RANGE", "number");
	*(double *)j->slot = d;
	return OK;
}

static bool bool_of_text(struct str text, bool *out)
{
	*out = str_eq(text, STR("true")) || str_eq(text, STR("1"));
	return *out || str_eq(text, STR("false")) || str_eq(text, STR("0"));
}

static enum err read_bool(struct job *j)
{
	struct str text;
	bool v, ok;

	if (j->f->from != FROM_BODY && mp_get_str(&j->in, &text))
		ok = bool_of_text(text, &v);
	else
		ok = mp_get_bool(&j->in, &v);
	if (!ok)
		return fault(j, "TYPE", "must be true or false");
	*(bool *)j->slot = v;
	return OK;
}

static enum err read_item(struct job *j, uint32_t i, struct str *out)
{
	char why[WHY_MAX];
	const char *code;
	struct str s;

	if (!mp_get_str(&j->in, &s)) {
		if (!mp_skip(&j->in, NULL))
			return ERR_INVALID;
		return item_fault(j, i, "TYPE", "must be text");
	}
	s = text_trim(s);
	code = judge(s, true, 1, LINE_ITEM_MAX, why);
	if (code)
		return item_fault(j, i, code, why);
	*out = s;
	return OK;
}

static enum err read_lines(struct job *j)
{
	enum err e = OK;
	char why[WHY_MAX];
	struct str *v;
	uint32_t n;

	if (!mp_get_array(&j->in, &n))
		return fault(j, "TYPE", "must be a list of texts");
	if (n < j->f->min || n > j->f->max)
		return fault(j, "ITEMS",
		             amount(why, j->f->min, j->f->max, "items"));
	v = arena_alloc(j->cx->arena, n * sizeof(*v));
	if (!v)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < n; i++) {
		enum err bad = read_item(j, i, &v[i]);

		e = bad ? bad : e;
	}
	if (!e)
		*(struct strs *)j->slot = (struct strs){v, n};
	return e;
}

static enum err read_file(struct job *j)
{
	struct file f = {0};
	struct str map, data;
	char why[WHY_MAX];
	struct mp m;

	if (!mp_skip(&j->in, &map) || !mp_find(map, "data", &data))
		return fault(j, "TYPE", "must be a file");
	m = mp_open(data);
	if (!mp_get_bin(&m, &f.data))
		return fault(j, "TYPE", "must be a file");
	if ((int64_t)f.data.n < j->f->min || (int64_t)f.data.n > j->f->max)
		return fault(j, "LENGTH",
		             amount(why, j->f->min, j->f->max, "bytes"));
	f.name = mp_find_str(map, "name", STR(""));
	f.type = mp_find_str(map, "type", STR(""));
	*(struct file *)j->slot = f;
	return OK;
}

static enum err read_any(struct job *j)
{
	char why[WHY_MAX];
	struct str s;

	if (!mp_skip(&j->in, &s))
		return fault(j, "TYPE", "is not well formed");
	if ((int64_t)s.n < j->f->min || (int64_t)s.n > j->f->max)
		return fault(j, "LENGTH",
		             amount(why, j->f->min, j->f->max, "bytes"));
	*(struct str *)j->slot = s;
	return OK;
}

/* --- all fields ------------------------------------------------------------ */

static enum err read_absent(struct job *j)
{
	const struct field *f = j->f;

	if (f->required)
		return fault(j, "REQUIRED", "is required");
	switch (f->type) {
	case FIELD_TEXT:
	case FIELD_TRIM:
	case FIELD_LINE:
	case FIELD_LOOSE:
	case FIELD_SECRET:
		*(struct str *)j->slot = str_from(f->text_fallback);
		break;
	case FIELD_INT:
		*(int64_t *)j->slot = (int64_t)f->num_fallback;
		break;
	case FIELD_NUM:
		*(double *)j->slot = f->num_fallback;
		break;
	case FIELD_BOOL:
		*(bool *)j->slot = f->num_fallback != 0;
		break;
	case FIELD_LINES:
		*(struct strs *)j->slot = (struct strs){NULL, 0};
		break;
	case FIELD_FILE:
		*(struct file *)j->slot = (struct file){.data = {NULL, 0}};
		break;
	case FIELD_ANY:
		*(struct str *)j->slot = (struct str){NULL, 0};
		break;
	}
	return OK;
}

static enum err read_field(struct job *j)
{
	static enum err (*const readers[])(struct job *) = {
		[FIELD_TEXT] = read_text,   [FIELD_TRIM] = read_text,
		[FIELD_LINE] = read_text,   [FIELD_LOOSE] = read_text,
		[FIELD_SECRET] = read_text, [FIELD_INT] = read_int,
		[FIELD_NUM] = read_num,     [FIELD_BOOL] = read_bool,
		[FIELD_LINES] = read_lines, [FIELD_FILE] = read_file,
		[FIELD_ANY] = read_any,
	};
	enum mp_type type = mp_peek(&j->in);

	if (type == MP_END || type == MP_NIL ||
	    (j->f->type == FIELD_LOOSE && type != MP_STR))
		return read_absent(j);
	return readers[j->f->type](j);
}

struct source {
	const struct field *fields;
	size_t n;
	struct str given[FIELDS_MAX]; /* msgpack of each field's value */
};

static void remember(struct source *s, enum field_from from, struct str key,
                     struct str value)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->fields[i].from == from && !s->given[i].p &&
		    str_eq(key, str_from(s->fields[i].name)))
			s->given[i] = value;
}

/* One pass over a map, however many fields there are to find in it. */
static bool collect(struct source *s, enum field_from from, struct str map)
{
	struct mp m = mp_open(map);
	uint32_t pairs;

	if (!mp_get_map(&m, &pairs))
		return false;
	for (uint32_t i = 0; i < pairs; i++) {
		struct str key = {NULL, 0}, value;
		bool text = mp_get_str(&m, &key);

		if ((!text && !mp_skip(&m, NULL)) || !mp_skip(&m, &value))
			return false;
		if (text)
			remember(s, from, key, value);
	}
	return true;
}

static bool any_from(const struct source *s, enum field_from from)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->fields[i].from == from)
			return true;
	return false;
}

static const struct {
	const char *pointer, *message;
} sources[] = {
	[FROM_BODY] = {"", "The body must be a JSON object."},
	[FROM_QUERY] = {"?", "The query is malformed."},
	[FROM_PATH] = {"{}", "The path is malformed."},
};

enum err fields_read(struct ctx *cx, const struct field *fields, size_t n,
                     struct str body, struct str query, struct str path,
                     void *out)
{
	const struct str maps[] = {
		[FROM_BODY] = body,
		[FROM_QUERY] = query,
		[FROM_PATH] = path,
	};
	struct source s = {.fields = fields, .n = n};
	bool broken[COUNTOF(maps)] = {false};
	enum err e = OK;

	assert(n <= FIELDS_MAX);
	for (size_t i = 0; i < COUNTOF(maps); i++) {
		if (maps[i].n == 0 || !any_from(&s, (enum field_from)i) ||
		    collect(&s, (enum field_from)i, maps[i]))
			continue;
		broken[i] = true;
		e = ctx_fault(cx, sources[i].pointer, "TYPE", "%s",
		              sources[i].message);
	}
	for (size_t i = 0; i < n && e != ERR_NOMEM; i++) {
		struct job j = {
			.cx = cx,
			.f = &fields[i],
			.in = mp_open(s.given[i]),
			.slot = (char *)out + fields[i].offset,
		};
		enum err bad = broken[fields[i].from] ? OK : read_field(&j);

		e = bad ? bad : e;
	}
	return e;
}
