/*
 * Spans as the JSON form of OTLP: ids in hex, enums as numbers, 64-bit integers
 * as strings (opentelemetry-proto, OTLP/HTTP, "JSON Protobuf Encoding").
 */
#include "common/obs/otlp_inner.h"

#include "common/base/conf.h"
#include "common/base/utf8.h"
#include "common/codec/json.h"
#include "common/codec/mp.h"

#include <inttypes.h>
#include <unistd.h>

#define SERVICES_MAX        8 /* in one process */
#define VALUE_MAX           1024
#define HOST_NAME_MAX_BYTES 65

/* --- settings ------------------------------------------------------------------ */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool decode(struct str s, char out[VALUE_MAX], size_t *n)
{
	*n = 0;
	for (size_t i = 0; i < s.n && *n < VALUE_MAX; i++) {
		int high, low;

		if (s.p[i] != '%') {
			out[(*n)++] = s.p[i];
			continue;
		}
		if (s.n - i < 3)
			return false;
		high = hex_digit(s.p[i + 1]);
		low = hex_digit(s.p[i + 2]);
		if (high < 0 || low < 0)
			return false;
		out[(*n)++] = (char)(high * 16 + low);
		i += 2;
	}
	return s.n <= VALUE_MAX || *n < VALUE_MAX;
}

bool otlp_pairs(struct str list, otlp_pair_fn *fn, void *arg)
{
	char text[VALUE_MAX];

	while (list.n) {
		struct str value = str_trim(str_cut(&list, ',')), key;
		bool pair = value.n && memchr(value.p, '=', value.n);
		size_t n;

		if (value.n == 0)
			continue;
		key = str_trim(str_cut(&value, '='));
		if (!pair || key.n == 0 || !decode(str_trim(value), text, &n) ||
		    !fn(arg, key, (struct str){text, n}))
			return false;
	}
	return true;
}

static void put_text_attribute(struct buf *b, struct str key, struct str value)
{
	if (b->n && b->p[b->n - 1] == '}')
		buf_char(b, ',');
	buf_str(b, STR("{\"key\":"));
	json_add_str(b, key);
	buf_str(b, STR(",\"value\":{\"stringValue\":"));
	json_add_str(b, value);
	buf_str(b, STR("}}"));
}

static bool add_resource(void *arg, struct str key, struct str value)
{
	struct otlp_resource *r = arg;

	if (!utf8_valid(key) || !utf8_valid(value))
		return false;
	/* OTEL_SERVICE_NAME is read first, and wins. */
	if (!str_eq(key, STR("service.name")))
		put_text_attribute(&r->attributes, key, value);
	else if (r->name.n == 0)
		buf_str(&r->name, value);
	return true;
}

bool otlp_resource(const struct settings *conf, struct otlp_resource *r)
{
	char host[HOST_NAME_MAX_BYTES] = "";
	struct str instance = conf->instance_id;

	if (instance.n == 0 && gethostname(host, sizeof(host) - 1) == 0)
		instance = str_from(host);
	buf_str(&r->name, conf->otel_service_name);
	put_text_attribute(&r->attributes, STR("service.namespace"),
	                   STR("knowalledge"));
	put_text_attribute(&r->attributes, STR("service.version"),
	                   STR(KAE_VERSION));
	if (instance.n)
		put_text_attribute(&r->attributes, STR("service.instance.id"),
		                   instance);
	put_text_attribute(&r->attributes, STR("deployment.environment.name"),
	                   str_from(env_name(conf->env)));
	return otlp_pairs(conf->otel_resource, add_resource, r) &&
	       !r->attributes.failed && !r->name.failed;
}

void otlp_resource_fini(struct otlp_resource *r)
{
	buf_fini(&r->attributes);
	buf_fini(&r->name);
}

/* --- spans --------------------------------------------------------------------- */

static void put_time(struct buf *b, const char *name, uint64_t us,
                     int64_t offset_us)
{
	buf_printf(b, ",\"%s\":\"%" PRId64 "000\"", name,
	           (int64_t)us + offset_us);
}

static void put_attributes(struct buf *b, const struct span *s)
{
	buf_str(b, STR(",\"attributes\":["));
	for (unsigned i = 0; i < s->attrs_n; i++) {
		const struct span_attr *a = &s->attrs[i];

		if (!a->number) {
			put_text_attribute(b, str_from(a->key),
			                   (struct str){s->text + a->at, a->n});
			continue;
		}
		buf_printf(b,
		           "%s{\"key\":\"%s\",\"value\":{\"intValue\":"
		           "\"%" PRId64 "\"}}",
		           i ? "," : "", a->key, a->i);
	}
	buf_char(b, ']');
}

static void put_span(struct buf *b, const struct span *s, int64_t offset_us)
{
	buf_printf(b,
	           "{\"traceId\":\"%016" PRIx64 "%016" PRIx64
	           "\",\"spanId\":\"%016" PRIx64 "\",\"flags\":1",
	           s->own.id[0], s->own.id[1], s->own.span);
	if (s->parent)
		buf_printf(b, ",\"parentSpanId\":\"%016" PRIx64 "\"",
		           s->parent);
	buf_str(b, STR(",\"name\":"));
	json_add_str(b, span_name_of(s));
	buf_printf(b, ",\"kind\":%d", (int)s->kind);
	put_time(b, "startTimeUnixNano", s->start_us, offset_us);
	put_time(b, "endTimeUnixNano",
	         s->end_us > s->start_us ? s->end_us : s->start_us, offset_us);
	put_attributes(b, s);
	if (s->failed)
		buf_str(b, STR(",\"status\":{\"code\":2}"));
	buf_char(b, '}');
}

static void put_service(struct buf *b, const struct otlp_resource *r,
                        const char *service)
{
	buf_str(b, STR("{\"resource\":{\"attributes\":["));
	put_text_attribute(b, STR("service.name"),
	                   r->name.n ? buf_view(&r->name) : str_from(service));
	buf_char(b, ',');
	buf_str(b, buf_view(&r->attributes));
	buf_str(b, STR("]},\"scopeSpans\":[{\"scope\":{\"name\":"
	               "\"knowalledge\",\"version\":\"" KAE_VERSION
	               "\"},\"spans\":["));
}

static bool same(const char *a, const char *b)
{
	return a == b || strcmp(a, b) == 0;
}

void otlp_write(struct buf *out, const struct otlp_resource *r,
                const struct span *ring, size_t from, size_t n,
                int64_t offset_us)
{
	const char *told[SERVICES_MAX];
	size_t told_n = 0;

	buf_str(out, STR("{\"resourceSpans\":["));
	for (size_t i = 0; i < n; i++) {
		const char *service = ring[(from + i) % OTLP_RING].service;
		size_t t = 0, put = 0;

		while (t < told_n && !same(told[t], service))
			t++;
		if (t < told_n || told_n == SERVICES_MAX)
			continue;
		told[told_n++] = service;
		if (told_n > 1)
			buf_char(out, ',');
		put_service(out, r, service);
		for (size_t k = i; k < n; k++) {
			const struct span *s = &ring[(from + k) % OTLP_RING];

			if (!same(s->service, service))
				continue;
			if (put++)
				buf_char(out, ',');
			put_span(out, s, offset_us);
		}
		buf_str(out, STR("]}]}"));
	}
	buf_str(out, STR("]}"));
}

/* --- answers ------------------------------------------------------------------- */

uint64_t otlp_rejected(struct str answer)
{
	struct json_error at = {0};
	AUTO_BUF mp = {.max = OTLP_ANSWER_MAX};
	struct str partial, text;
	int64_t n = 0;

	if (answer.n == 0 || !json_to_mp(answer, &mp, &at) ||
	    !mp_find(buf_view(&mp), "partialSuccess", &partial))
		return 0;
	/* A string in the specification, a number from some collectors. */
	text = mp_find_str(partial, "rejectedSpans", (struct str){0});
	if (text.n == 0)
		n = mp_find_i64(partial, "rejectedSpans", 0);
	else if (!str_to_i64(text, &n))
		n = 0;
	return n > 0 ? (uint64_t)n : 0;
}
