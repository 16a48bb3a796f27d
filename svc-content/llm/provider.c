/* Providers, as the settings have them. */
#include "svc-content/llm/inner.h"

#include "common/base/net.h"

#include <stdio.h>
#include <stdlib.h>

#define PATH "/chat/completions"

/* Where a slot's settings are in struct settings. */
#define SLOT(label, prefix, text, key_field, field)                                       \
	{                                                                                 \
		label, text, offsetof(struct settings, key_field),                        \
			offsetof(struct settings, field##_base_url),                      \
			offsetof(struct settings, field##_model),                         \
			offsetof(struct settings, field##_header),                        \
			offsetof(struct settings, field##_capabilities),                  \
			offsetof(struct settings, field##_price_in),                      \
			offsetof(struct settings, field##_price_out),                     \
			offsetof(struct settings, field##_connect_ms),                    \
			offsetof(struct settings, field##_first_token_ms),                \
			offsetof(struct settings, field##_idle_ms),                       \
			offsetof(struct settings, field##_total_ms),                      \
		{                                                                         \
			prefix "_BASE_URL: must begin with https:// (or http:// on this " \
			       "machine or in development), without credentials, query "  \
			       "or blanks",                                               \
				prefix "_MODEL: must be set",                             \
				prefix "_HEADER: must be bearer or api-key",              \
				prefix                                                    \
				"_CAPABILITIES: may have json_schema, json_object, "      \
				"streaming, vision and max_completion_tokens",            \
				prefix                                                    \
				"_PRICE_IN: must be dollars, such as 0.10",               \
				prefix                                                    \
				"_PRICE_OUT: must be dollars, such as 0.10",              \
				text                                                      \
				": must be printable ASCII without blanks"                \
		}                                                                         \
	}

enum wrong {
	WRONG_URL,
	WRONG_MODEL,
	WRONG_HEADER,
	WRONG_CAN,
	WRONG_PRICE_IN,
	WRONG_PRICE_OUT,
	WRONG_KEY,
	WRONG_COUNT
};

static const struct slot {
	const char *name, *key_name;
	size_t key, base_url, model, header, capabilities;
	size_t price_in, price_out;
	size_t connect_ms, first_token_ms, idle_ms, total_ms;
	const char *wrong[WRONG_COUNT];
} slots[] = {
	SLOT("llm", "LLM", "LLM_API_KEY", llm_api_key, llm),
	SLOT("llm2", "LLM2", "LLM2_API_KEY", llm2_api_key, llm2),
	SLOT("llm3", "LLM3", "LLM3_API_KEY", llm3_api_key, llm3),
	SLOT("gemini", "GEMINI", "GOOGLE_API_KEY", google_api_key, gemini),
};
#define GEMINI 3 /* its address is known without a setting: the key decides */

_Static_assert(COUNTOF(slots) == LLM_PROVIDERS_MAX, "one place for each");

static struct str text_at(const struct settings *conf, size_t offset)
{
	return *(const struct str *)(const void *)((const char *)conf + offset);
}

static uint64_t number_at(const struct settings *conf, size_t offset)
{
	return *(const uint64_t *)(const void *)((const char *)conf + offset);
}

/* --- single settings ------------------------------------------------------------- */

bool price_read(struct str text, uint64_t *out)
{
	struct str rest = text;
	struct str whole = str_cut(&rest, '.');
	uint64_t micro = 0, scale = 100000;
	int64_t dollars = 0;

	if (text.n == 0) {
		*out = 0;
		return true;
	}
	if (!str_to_i64(whole, &dollars) || dollars < 0 || dollars > 1000000 ||
	    rest.n > 6 || (whole.n < text.n && rest.n == 0))
		return false;
	for (size_t i = 0; i < rest.n; i++, scale /= 10) {
		if (rest.p[i] < '0' || rest.p[i] > '9')
			return false;
		micro += (uint64_t)(rest.p[i] - '0') * scale;
	}
	*out = (uint64_t)dollars * 1000000 + micro;
	return true;
}

static bool can_read(struct str list, unsigned *out)
{
	static const struct {
		struct str name;
		unsigned can;
	} rows[] = {
		{STR("json_schema"), CAN_SCHEMA},
		{STR("json_object"), CAN_OBJECT},
		{STR("streaming"), CAN_STREAM},
		{STR("vision"), CAN_VISION},
		{STR("max_completion_tokens"), CAN_MAX_COMPLETION},
	};

	*out = CAN_USAGE | CAN_USER;
	while (list.n) {
		struct str name = str_trim(str_cut(&list, ','));
		unsigned can = 0;

		for (size_t i = 0; i < COUNTOF(rows); i++)
			if (str_eq(name, rows[i].name))
				can = rows[i].can;
		if (!can && name.n)
			return false;
		*out |= can;
	}
	return true;
}

/* Of "host:port/path": whether host is this machine. */
static bool is_loopback(struct str rest)
{
	struct str host = str_cut(&rest, '/');

	if (host.n && host.p[0] == '[') {
		host.p++;
		host.n--;
		host = str_cut(&host, ']');
	} else {
		host = str_cut(&host, ':');
	}
	if (str_ieq(host, STR("localhost")) || str_eq(host, STR("::1")))
		return true;
	return str_starts(host, STR("127.")) &&
	       strspn(host.p, "0123456789.") >= host.n;
}

static bool url_is_sound(const struct settings *conf, struct str url)
{
	const struct str clear = STR("http://"), tls = STR("https://");
	struct str rest;

	for (size_t i = 0; i < url.n; i++)
		if (url.p[i] <= ' ' || url.p[i] > '~' ||
		    strchr("@?#\\\"<>", url.p[i]))
			return false;
	if (str_starts(url, tls))
		return url.n > tls.n;
	if (!str_starts(url, clear) || url.n == clear.n)
		return false;
	rest = (struct str){url.p + clear.n, url.n - clear.n};
	return conf->env == ENV_DEVELOPMENT || is_loopback(rest);
}

static bool key_is_sound(struct str key)
{
	for (size_t i = 0; i < key.n; i++)
		if (key.p[i] <= ' ' || key.p[i] > '~')
			return false;
	return true;
}

/* --- a provider -------------------------------------------------------------------- */

static bool add_header(struct curl_slist **list, const char *before,
                       struct str value)
{
	AUTO_BUF line = {0};
	struct curl_slist *more;

	/* Room for all at once: no copy of a key is left where it grew. */
	if (!buf_reserve(&line, strlen(before) + value.n + 1))
		return false;
	buf_str(&line, str_from(before));
	buf_str(&line, value);
	buf_char(&line, '\0');
	more = curl_slist_append(*list, line.p);
	explicit_bzero(line.p, line.n);
	if (more)
		*list = more;
	return more;
}

static bool copy_texts(struct provider *p, struct str url, struct str model)
{
	while (url.n && url.p[url.n - 1] == '/')
		url.n--;
	p->model = strndup(model.p, model.n);
	return p->model && asprintf(&p->url, "%.*s" PATH, STR_FMT(url)) >= 0;
}

static bool add_headers(struct provider *p, struct str header, struct str key)
{
	const char *name = str_eq(header, STR("api-key")) ? "api-key: "
	                                                  : "Authorization: "
	                                                    "Bearer ";

	return add_header(&p->headers, "Content-Type: application/json",
	                  STR("")) &&
	       /* No round trip to ask whether the body is wanted. */
	       add_header(&p->headers, "Expect:", STR("")) &&
	       (key.n == 0 || add_header(&p->headers, name, key));
}

static enum wrong check(const struct settings *conf, const struct slot *s,
                        struct provider *p)
{
	struct str header = text_at(conf, s->header);

	if (!url_is_sound(conf, text_at(conf, s->base_url)))
		return WRONG_URL;
	if (text_at(conf, s->model).n == 0)
		return WRONG_MODEL;
	if (!str_eq(header, STR("bearer")) && !str_eq(header, STR("api-key")))
		return WRONG_HEADER;
	if (!can_read(text_at(conf, s->capabilities), &p->can))
		return WRONG_CAN;
	if (!price_read(text_at(conf, s->price_in), &p->price_in))
		return WRONG_PRICE_IN;
	if (!price_read(text_at(conf, s->price_out), &p->price_out))
		return WRONG_PRICE_OUT;
	return key_is_sound(text_at(conf, s->key)) ? WRONG_COUNT : WRONG_KEY;
}

static enum err read_one(const struct settings *conf, const struct slot *s,
                         struct provider *p, const char **why)
{
	enum wrong w;

	*p = (struct provider){
		.name = s->name,
		.rule = {.failures = LLM_FAILURES,
	                 .successes = LLM_SUCCESSES,
	                 .first_ms = conf->llm_breaker_open_ms,
	                 .last_ms = conf->llm_breaker_open_ms},
		.connect_ms = number_at(conf, s->connect_ms),
		.first_token_ms = number_at(conf, s->first_token_ms),
		.idle_ms = number_at(conf, s->idle_ms),
		.total_ms = number_at(conf, s->total_ms),
	};
	p->breaker.rule = &p->rule;
	w = check(conf, s, p);
	if (w != WRONG_COUNT) {
		*why = s->wrong[w];
		return ERR_INVALID;
	}
	if (copy_texts(p, text_at(conf, s->base_url),
	               text_at(conf, s->model)) &&
	    add_headers(p, text_at(conf, s->header), text_at(conf, s->key)))
		return OK;
	providers_fini(p, 1);
	return ERR_NOMEM;
}

/* --- the chain ------------------------------------------------------------------------ */

static bool is_configured(const struct settings *conf, size_t i)
{
	return i == GEMINI ? text_at(conf, slots[i].key).n > 0
	                   : text_at(conf, slots[i].base_url).n > 0;
}

static enum err refuse(const char *text, const char **why)
{
	*why = text;
	return ERR_INVALID;
}

/* The rows of slots[] in order; each at most once. */
static enum err order_read(const struct settings *conf,
                           size_t order[LLM_PROVIDERS_MAX], unsigned *n,
                           const char **why)
{
	struct str list = conf->llm_providers;

	for (size_t i = 0; list.n == 0 && i < COUNTOF(slots); i++)
		if (is_configured(conf, i))
			order[(*n)++] = i;
	while (list.n) {
		struct str name = str_trim(str_cut(&list, ','));
		size_t i = 0;

		while (i < COUNTOF(slots) &&
		       !str_eq(name, str_from(slots[i].name)))
			i++;
		if (i == COUNTOF(slots))
			return refuse("LLM_PROVIDERS: may name llm, llm2, llm3 "
			              "and gemini",
			              why);
		if (!is_configured(conf, i))
			return refuse("LLM_PROVIDERS: names one that is not "
			              "configured: set its _BASE_URL, or "
			              "GOOGLE_API_KEY",
			              why);
		for (unsigned k = 0; k < *n; k++)
			if (order[k] == i)
				return refuse("LLM_PROVIDERS: names one twice",
				              why);
		order[(*n)++] = i;
	}
	return OK;
}

static enum err keys_have_addresses(const struct settings *conf,
                                    const char **why)
{
	static const char *const alone[] = {
		"LLM_API_KEY: needs LLM_BASE_URL",
		"LLM2_API_KEY: needs LLM2_BASE_URL",
		"LLM3_API_KEY: needs LLM3_BASE_URL"};

	for (size_t i = 0; i < COUNTOF(alone); i++)
		if (text_at(conf, slots[i].key).n && !is_configured(conf, i))
			return refuse(alone[i], why);
	return OK;
}

enum err providers_read(const struct settings *conf, struct provider *p,
                        unsigned *n, const char **why)
{
	size_t order[LLM_PROVIDERS_MAX] = {0};
	unsigned wanted = 0;
	enum err e = keys_have_addresses(conf, why);

	*n = 0;
	if (!e)
		e = order_read(conf, order, &wanted, why);
	while (!e && *n < wanted) {
		e = read_one(conf, &slots[order[*n]], &p[*n], why);
		if (!e)
			(*n)++;
	}
	if (e) {
		providers_fini(p, *n);
		*n = 0;
	}
	return e;
}

void providers_fini(struct provider *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		for (struct curl_slist *h = p[i].headers; h; h = h->next)
			explicit_bzero(h->data, strlen(h->data));
		curl_slist_free_all(p[i].headers);
		free(p[i].model);
		free(p[i].url);
		p[i].headers = NULL;
		p[i].model = p[i].url = NULL;
	}
}
