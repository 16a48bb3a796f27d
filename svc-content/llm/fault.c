#include "svc-content/llm/fault.h"

#include "common/base/attr.h"

#include <curl/curl.h>

#define DAY_MS    ((uint64_t)86400000)
#define DEPTH_MAX 4 /* of errors in errors */
#define DETAILS   16

static const struct why_row {
	enum fault_kind kind;
	enum err err;
	const char *name;
} whys[] = {
#define ERR_OK                    OK
#define WHY(why, kind, err, name) {FAULT_##kind, ERR_##err, name},
#include "svc-content/llm/fault.def"
#undef WHY
#undef ERR_OK
};

const char *why_name(enum why w)
{
	return whys[w].name;
}

enum fault_kind why_kind(enum why w)
{
	return whys[w].kind;
}

enum err why_err(enum why w)
{
	return whys[w].err;
}

/* --- by status and code ------------------------------------------------------- */

static enum why of_status(long status)
{
	static const struct {
		long status;
		enum why why;
	} rows[] = {
		{401, WHY_UNAUTHORIZED}, {402, WHY_QUOTA_SPENT},
		{403, WHY_FORBIDDEN},    {404, WHY_NOT_FOUND},
		{407, WHY_FORBIDDEN},    {408, WHY_SLOW_REQUEST},
		{409, WHY_CONFLICT},     {413, WHY_TOO_LARGE},
		{425, WHY_TOO_EARLY},    {429, WHY_RATE_LIMITED},
	};

	for (size_t i = 0; i < COUNTOF(rows); i++)
		if (rows[i].status == status)
			return rows[i].why;
	if (status >= 300 && status < 400)
		return WHY_REDIRECTED;
	if (status >= 400 && status < 500)
		return WHY_BAD_REQUEST;
	return WHY_SERVER_ERROR;
}

/* Codes, types and reasons that say more than the status, or stand where there
 * is none.  An earlier row goes before a later one. */
static const struct {
	const char *code;
	enum why why;
	bool always; /* also where a status is known */
} codes[] = {
	{"insufficient_quota", WHY_QUOTA_SPENT, true},
	{"billing_hard_limit_reached", WHY_QUOTA_SPENT, true},
	{"billing_not_active", WHY_QUOTA_SPENT, true},
	{"insufficient_balance", WHY_QUOTA_SPENT, true},
	{"API_KEY_INVALID", WHY_UNAUTHORIZED, true},
	{"invalid_api_key", WHY_UNAUTHORIZED, true},
	{"authentication_error", WHY_UNAUTHORIZED, false},
	{"UNAUTHENTICATED", WHY_UNAUTHORIZED, false},
	{"PERMISSION_DENIED", WHY_FORBIDDEN, false},
	{"permission_error", WHY_FORBIDDEN, false},
	{"content_filter", WHY_FILTERED, true},
	{"content_policy_violation", WHY_FILTERED, true},
	{"rate_limit_exceeded", WHY_RATE_LIMITED, false},
	{"rate_limit_error", WHY_RATE_LIMITED, false},
	{"RESOURCE_EXHAUSTED", WHY_RATE_LIMITED, false},
	{"model_not_found", WHY_NOT_FOUND, false},
	{"NOT_FOUND", WHY_NOT_FOUND, false},
	{"context_length_exceeded", WHY_TOO_LARGE, true},
	{"invalid_request_error", WHY_BAD_REQUEST, false},
	{"INVALID_ARGUMENT", WHY_BAD_REQUEST, false},
	{"FAILED_PRECONDITION", WHY_BAD_REQUEST, false},
};

static void note_code(struct llm_fault *f, size_t *best, bool known,
                      struct str code)
{
	for (size_t i = 0; i < *best; i++)
		if (str_ieq(code, str_from(codes[i].code)) &&
		    (codes[i].always || !known)) {
			f->why = codes[i].why;
			*best = i;
			return;
		}
}

/* --- how long to wait --------------------------------------------------------- */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* A decimal number, in thousandths; false if there is none. */
static bool number(struct str *s, uint64_t *out)
{
	uint64_t v = 0, scale = 100;
	size_t i = 0;

	for (; i < s->n && is_digit(s->p[i]); i++)
		if (v < DAY_MS * 1000)
			v = v * 10 + (uint64_t)(s->p[i] - '0') * 1000;
	if (i == 0)
		return false;
	if (i + 1 < s->n && s->p[i] == '.' && is_digit(s->p[i + 1]))
		for (i++; i < s->n && is_digit(s->p[i]); i++, scale /= 10)
			v += (uint64_t)(s->p[i] - '0') * scale;
	s->p += i;
	s->n -= i;
	*out = v;
	return true;
}

/* Milliseconds of the unit that s begins with; seconds if it is none. */
static uint64_t unit(struct str *s, bool *named)
{
	static const struct {
		struct str name;
		uint64_t ms;
	} rows[] = {
		{STR("ms"), 1},    {STR("milli"), 1},   {STR("s"), 1000},
		{STR("m"), 60000}, {STR("h"), 3600000},
	};
	struct str at = *s;

	if (at.n && at.p[0] == ' ') {
		at.p++;
		at.n--;
	}
	*named = true;
	for (size_t i = 0; i < COUNTOF(rows); i++)
		if (str_starts(at, rows[i].name)) {
			s->p = at.p + rows[i].name.n;
			s->n = at.n - rows[i].name.n;
			return rows[i].ms;
		}
	*named = false;
	return 1000;
}

bool duration_ms(struct str text, uint64_t *out)
{
	uint64_t sum = 0, v;
	bool any = false, named = true;

	while (named && number(&text, &v)) {
		uint64_t of = unit(&text, &named);

		any = true;
		v = v / 1000 > DAY_MS / of ? DAY_MS : (v * of + 999) / 1000;
		sum = sum + v > DAY_MS ? DAY_MS : sum + v;
	}
	if (any)
		*out = sum;
	return any;
}

static bool find(struct str text, struct str what, struct str *rest)
{
	for (size_t i = 0; i + what.n <= text.n; i++) {
		if (str_ieq((struct str){text.p + i, what.n}, what)) {
			*rest = (struct str){text.p + i + what.n,
			                     text.n - i - what.n};
			return true;
		}
	}
	return false;
}

static bool has(struct str text, struct str what)
{
	struct str rest;

	return find(text, what, &rest);
}

static void note_wait(struct llm_fault *f, struct str text)
{
	uint64_t ms;

	if (f->hinted || !duration_ms(text, &ms))
		return;
	f->hinted = true;
	f->wait_ms = ms;
}

/* --- bodies -------------------------------------------------------------------- */

struct look {
	struct llm_fault f;
	size_t best; /* row of codes[] that decided */
	bool known;  /* the status is */
	int depth;
};

static void look_at(struct look *l, json_t *j);

static struct str text_of(json_t *j)
{
	return (struct str){json_string_value(j), json_string_length(j)};
}

static void note_names(struct llm_fault *f, struct str text)
{
	f->format = f->format || has(text, STR("response_format")) ||
	            has(text, STR("json_schema")) ||
	            has(text, STR("json_object"));
	f->usage = f->usage || has(text, STR("stream_options"));
	/* Named whichever of the two it was sent. */
	f->max_tokens =
		f->max_tokens || has(text, STR("max_completion_tokens"));
}

static void look_at_message(struct look *l, struct str text)
{
	static const struct str waits[] = {STR("retry in "),
	                                   STR("try again in "),
	                                   STR("retry after ")};
	struct str trimmed = str_trim(text), rest;
	json_t *inner = NULL;

	if (trimmed.n && (trimmed.p[0] == '{' || trimmed.p[0] == '['))
		inner = json_loadb(trimmed.p, trimmed.n, 0, NULL);
	if (inner) {
		look_at(l, inner);
		json_decref(inner);
		return;
	}
	note_names(&l->f, text);
	for (size_t i = 0; i < COUNTOF(waits); i++)
		if (find(text, waits[i], &rest))
			note_wait(&l->f, rest);
}

/* One of Google's details, or of FastAPI's. */
static void look_at_detail(struct look *l, json_t *d)
{
	struct str delay = text_of(json_object_get(d, "retryDelay"));
	json_t *loc = json_object_get(d, "loc"), *part;
	size_t i;

	if (delay.p) {
		l->f.hinted = false; /* it is exact, and words are not */
		note_wait(&l->f, delay);
	}
	note_code(&l->f, &l->best, l->known,
	          text_of(json_object_get(d, "reason")));
	json_array_foreach(loc, i, part)
	{
		note_names(&l->f, text_of(part));
		l->f.user = l->f.user || str_eq(text_of(part), STR("user"));
	}
}

static void look_at_code(struct look *l, json_t *code)
{
	json_int_t n = json_integer_value(code);

	if (json_is_string(code))
		note_code(&l->f, &l->best, l->known, text_of(code));
	else if (n >= 400 && n < 600 && !l->known) {
		l->f.why = of_status((long)n);
		l->known = true;
	}
}

static void look_at_object(struct look *l, json_t *o)
{
	json_t *details = json_object_get(o, "details");
	json_t *detail = json_object_get(o, "detail"), *d;
	struct str param = text_of(json_object_get(o, "param"));
	size_t i;

	look_at_code(l, json_object_get(o, "code"));
	look_at_code(l, json_object_get(o, "status"));
	look_at_code(l, json_object_get(o, "type"));
	note_names(&l->f, param);
	l->f.user = l->f.user || str_eq(param, STR("user"));
	look_at_message(l, text_of(json_object_get(o, "message")));
	json_array_foreach(details, i, d) if (i < DETAILS) look_at_detail(l, d);
	json_array_foreach(detail, i, d) if (i < DETAILS) look_at_detail(l, d);
	if (json_is_string(detail))
		look_at_message(l, text_of(detail));
	else if (json_is_object(detail))
		look_at(l, detail);
	look_at(l, json_object_get(o, "error"));
}

static void look_at(struct look *l, json_t *j)
{
	if (!j || ++l->depth > DEPTH_MAX)
		return;
	if (json_is_array(j))
		look_at(l, json_array_get(j, 0));
	else if (json_is_object(j))
		look_at_object(l, j);
	else if (json_is_string(j))
		look_at_message(l, text_of(j));
	l->depth--;
}

/* --- headers --------------------------------------------------------------------- */

static bool is_header(struct str line, const char *name, struct str *value)
{
	*value = line;
	return str_ieq(str_cut(value, ':'), str_from(name));
}

/* Seconds, a duration, or (as some have it) a time since 1970. */
static uint64_t reset_ms(struct str value, int64_t now_s)
{
	uint64_t ms = 0;
	int64_t at;

	if (str_to_i64(value, &at) && at > 1000000000) {
		if (at > 1000000000000)
			at /= 1000;
		return at > now_s ? (uint64_t)(at - now_s) * 1000 : 0;
	}
	(void)duration_ms(value, &ms);
	return ms;
}

static void retry_after(struct hints *h, struct str value, int64_t now_s)
{
	char date[64];
	time_t at;
	uint64_t ms = 0;

	if (value.n && is_digit(value.p[0])) {
		h->told = duration_ms(value, &ms);
	} else if (value.n && value.n < sizeof(date)) {
		memcpy(date, value.p, value.n);
		date[value.n] = '\0';
		at = curl_getdate(date, NULL);
		h->told = at >= 0;
		ms = at > now_s ? (uint64_t)(at - now_s) * 1000 : 0;
	}
	if (h->told)
		h->after_ms = ms < DAY_MS ? ms : DAY_MS;
}

void hints_header(struct hints *h, struct str line, int64_t now_s)
{
	struct {
		const char *reset, *remaining;
		struct hint_limit *of;
	} rows[] = {{"x-ratelimit-reset-requests",
	             "x-ratelimit-remaining-requests", &h->requests},
	            {"x-ratelimit-reset-tokens", "x-ratelimit-remaining-tokens",
	             &h->tokens}};
	struct str value;
	int64_t n;

	if (is_header(line, "retry-after", &value) && !h->told)
		retry_after(h, str_trim(value), now_s);
	if (is_header(line, "retry-after-ms", &value) &&
	    str_to_i64(str_trim(value), &n) && n >= 0) {
		h->told = true; /* the same, and exact */
		h->after_ms = (uint64_t)n < DAY_MS ? (uint64_t)n : DAY_MS;
	}
	for (size_t i = 0; i < COUNTOF(rows); i++) {
		if (is_header(line, rows[i].reset, &value)) {
			rows[i].of->told = true;
			rows[i].of->reset_ms = reset_ms(str_trim(value), now_s);
		}
		if (is_header(line, rows[i].remaining, &value))
			rows[i].of->spent = str_eq(str_trim(value), STR("0"));
	}
}

/* The limit that is spent says when; where none is said to be, the sooner. */
static bool reset_hint(const struct hints *h, uint64_t *out)
{
	const struct hint_limit *all[] = {&h->requests, &h->tokens};
	bool spent = h->requests.spent || h->tokens.spent, found = false;

	for (size_t i = 0; i < COUNTOF(all); i++) {
		const struct hint_limit *one = all[i];

		if (!one->told || (spent && !one->spent))
			continue;
		if (!found ||
		    (spent ? one->reset_ms > *out : one->reset_ms < *out))
			*out = one->reset_ms;
		found = true;
	}
	return found;
}

/* Retry-After goes before what the body says, that before the limits. */
static struct llm_fault with_hints(struct llm_fault f, const struct hints *h)
{
	if (h->told) {
		f.hinted = true;
		f.wait_ms = h->after_ms;
	} else if (!f.hinted && f.why == WHY_RATE_LIMITED) {
		f.hinted = reset_hint(h, &f.wait_ms);
	}
	if (f.wait_ms > DAY_MS)
		f.wait_ms = DAY_MS;
	return f;
}

struct llm_fault fault_of(long status, const struct hints *h, struct str body)
{
	struct look l = {.f.why = of_status(status),
	                 .best = COUNTOF(codes),
	                 .known = true};
	json_t *j = body.n ? json_loadb(body.p, body.n, 0, NULL) : NULL;

	look_at(&l, j);
	json_decref(j);
	return with_hints(l.f, h);
}

struct llm_fault fault_in(const struct hints *h, json_t *root)
{
	struct look l = {.f.why = WHY_SERVER_ERROR, .best = COUNTOF(codes)};

	look_at(&l, root);
	return with_hints(l.f, h);
}
