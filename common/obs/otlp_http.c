/* One request at a time to the collector, over libcurl. */
#include "common/obs/otlp_inner.h"

#include "common/base/clock.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>

#define PATH        "/v1/traces"
#define POLL_MS     1000
#define DAY_S       86400
#define SWALLOW_MAX ((size_t)1 << 20) /* of an answer, read or not */

struct otlp_http {
	CURL *easy;
	CURLM *multi;
	struct curl_slist *headers;
	struct buf url;
	size_t swallowed;
	struct buf *body; /* where the answer goes */
};

/* --- settings ------------------------------------------------------------------ */

/* RFC 9110, 5.6.2 and 5.5: what can stand in a header. */
static bool sound(void *arg, struct str name, struct str value)
{
	(void)arg;
	for (size_t i = 0; i < name.n; i++)
		if (name.p[i] <= ' ' || name.p[i] > '~' ||
		    strchr("\"(),/:;<=>?@[\\]{}", name.p[i]))
			return false;
	for (size_t i = 0; i < value.n; i++)
		if ((unsigned char)value.p[i] < ' ' || value.p[i] == 0x7f)
			return false;
	return true;
}

static struct str address(const struct settings *conf)
{
	return conf->otlp_traces_endpoint.n ? conf->otlp_traces_endpoint
	                                    : conf->otlp_endpoint;
}

const char *otlp_http_check(const struct settings *conf)
{
	struct str url = address(conf);

	if (url.n && !str_starts(url, STR("http://")) &&
	    !str_starts(url, STR("https://")))
		return "OTEL_EXPORTER_OTLP_ENDPOINT: must begin with http:// "
		       "or https://";
	if (url.n && memchr(url.p, '@', url.n))
		return "OTEL_EXPORTER_OTLP_ENDPOINT: credentials belong into "
		       "OTEL_EXPORTER_OTLP_HEADERS";
	if (!otlp_pairs(conf->otlp_headers, sound, NULL))
		return "OTEL_EXPORTER_OTLP_HEADERS: must be name=value, comma "
		       "separated, values percent-encoded";
	return NULL;
}

static bool add_header(void *arg, struct str name, struct str value)
{
	struct otlp_http *h = arg;
	AUTO_BUF line = {0};
	struct curl_slist *more;

	buf_printf(&line, "%.*s: %.*s", STR_FMT(name), STR_FMT(value));
	buf_char(&line, '\0');
	more = line.failed ? NULL : curl_slist_append(h->headers, line.p);
	if (line.p)
		explicit_bzero(line.p, line.n);
	if (more)
		h->headers = more;
	return more;
}

static bool fill(struct otlp_http *h, const struct settings *conf)
{
	struct str url = address(conf);

	if (!conf->otlp_traces_endpoint.n)
		while (url.n && url.p[url.n - 1] == '/')
			url.n--;
	buf_str(&h->url, url);
	if (!conf->otlp_traces_endpoint.n)
		buf_str(&h->url, STR(PATH));
	buf_char(&h->url, '\0');
	return !h->url.failed &&
	       add_header(h, STR("Content-Type"), STR("application/json")) &&
	       /* No round trip to ask whether the body is wanted. */
	       add_header(h, STR("Expect"), STR("")) &&
	       otlp_pairs(conf->otlp_headers, add_header, h);
}

/* --- one request ------------------------------------------------------------------ */

static size_t take(char *p, size_t size, size_t n, void *arg)
{
	struct otlp_http *h = arg;
	size_t keep = size * n;

	h->swallowed += keep;
	if (h->swallowed > SWALLOW_MAX)
		return 0; /* ends it: the status is known */
	if (keep > OTLP_ANSWER_MAX - h->body->n)
		keep = OTLP_ANSWER_MAX - h->body->n;
	buf_add(h->body, p, keep);
	return size * n;
}

static bool set_up(struct otlp_http *h)
{
	CURL *c = h->easy;

	return !curl_easy_setopt(c, CURLOPT_URL, h->url.p) &&
	       !curl_easy_setopt(c, CURLOPT_HTTPHEADER, h->headers) &&
	       !curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https") &&
	       !curl_easy_setopt(c, CURLOPT_POST, 1L) &&
	       !curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) &&
	       !curl_easy_setopt(c, CURLOPT_QUICK_EXIT, 1L) &&
	       !curl_easy_setopt(c, CURLOPT_USERAGENT,
	                         "knowalledge/" KAE_VERSION) &&
	       !curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take) &&
	       !curl_easy_setopt(c, CURLOPT_WRITEDATA, h);
}

struct otlp_http *otlp_http_new(const struct settings *conf)
{
	struct otlp_http *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK) {
		h->easy = curl_easy_init();
		h->multi = curl_multi_init();
	}
	if (h->easy && h->multi && fill(h, conf) && set_up(h))
		return h;
	otlp_http_free(h);
	return NULL;
}

void otlp_http_free(struct otlp_http *h)
{
	if (!h)
		return;
	curl_easy_cleanup(h->easy);
	(void)curl_multi_cleanup(h->multi);
	curl_slist_free_all(h->headers);
	buf_fini(&h->url);
	curl_global_cleanup();
	free(h);
}

void otlp_http_wake(struct otlp_http *h)
{
	(void)curl_multi_wakeup(h->multi);
}

/* Until it is over, or given up; the latter is CURLE_ABORTED_BY_CALLBACK. */
static CURLcode run(struct otlp_http *h, const _Atomic uint64_t *until_ms)
{
	for (;;) {
		int open = 0, rest = 0;
		uint64_t left;
		CURLMsg *m;

		if (curl_multi_perform(h->multi, &open) != CURLM_OK)
			return CURLE_FAILED_INIT;
		m = curl_multi_info_read(h->multi, &rest);
		if (m && m->msg == CURLMSG_DONE)
			return m->data.result;
		left = clock_left(atomic_load(until_ms), mono_ms());
		if (left == 0 || open == 0)
			return CURLE_ABORTED_BY_CALLBACK;
		(void)curl_multi_poll(h->multi, NULL, 0,
		                      (int)(left < POLL_MS ? left : POLL_MS),
		                      NULL);
	}
}

void otlp_http_post(struct otlp_http *h, struct str body, uint64_t timeout_ms,
                    const _Atomic uint64_t *until_ms, struct otlp_answer *out)
{
	curl_off_t after = 0;
	CURLcode code = CURLE_OUT_OF_MEMORY;

	h->body = &out->body;
	h->swallowed = 0;
	buf_clear(&out->body);
	out->status = 0;
	out->retry_after_s = 0;
	out->error[0] = '\0';
	if (!curl_easy_setopt(h->easy, CURLOPT_POSTFIELDS, body.p) &&
	    !curl_easy_setopt(h->easy, CURLOPT_POSTFIELDSIZE_LARGE,
	                      (curl_off_t)body.n) &&
	    !curl_easy_setopt(h->easy, CURLOPT_TIMEOUT_MS, (long)timeout_ms) &&
	    curl_multi_add_handle(h->multi, h->easy) == CURLM_OK) {
		code = run(h, until_ms);
		(void)curl_multi_remove_handle(h->multi, h->easy);
	}
	/* An answer that has a status and no good end is one all the same, but
	 * not one that never came to its end in time. */
	if (code == CURLE_OK || code == CURLE_WRITE_ERROR) {
		(void)curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE,
		                        &out->status);
		(void)curl_easy_getinfo(h->easy, CURLINFO_RETRY_AFTER, &after);
	}
	out->retry_after_s =
		after > 0 ? (uint64_t)(after < DAY_S ? after : DAY_S) : 0;
	if (code != CURLE_OK)
		(void)snprintf(out->error, sizeof(out->error), "%s",
		               curl_easy_strerror(code));
}
