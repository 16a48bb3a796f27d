/*
 * llm_client - the client of language models with the settings of the
 * environment, which a test steers over stdin.
 *
 *     ask {"n": 20, "text": "x", "deadline_ms": 2000, "json": true, ...}
 *     cancel {...}   the same, and cancelled when the first text has come
 *     metrics, health, breakers, reset
 *
 * Each line is answered by one JSON object with "answer" in it; log lines have
 * none.
 */
#include "svc-content/llm/llm.h"
#include "svc-content/quota/quota.h"

#include "common/base/clock.h"
#include "common/base/conf.h"
#include "common/base/log.h"
#include "common/codec/json.h"

#include <assert.h>
#include <inttypes.h>
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CALLS_MAX 300
#define IMAGE_MAX ((size_t)4 << 20)
#define SCHEMA                                                 \
	"{\"type\":\"object\",\"additionalProperties\":false," \
	"\"required\":[\"a\"],\"properties\":{\"a\":"          \
	"{\"type\":\"string\"}}}"

struct heard {
	struct buf text; /* as handed on, without what became void */
	unsigned voids, pieces;
	struct llm_call **cancel; /* or NULL */
};

struct client {
	struct llm *llm;
	struct quota *quota;
	struct metrics *metrics;
	struct llm_call *calls[CALLS_MAX];
	struct heard heard[CALLS_MAX];
	struct buf out;
};

static void say(struct client *cl)
{
	assert(!cl->out.failed);
	buf_char(&cl->out, '\n');
	assert(write(STDOUT_FILENO, cl->out.p, cl->out.n) ==
	       (ssize_t)cl->out.n);
	buf_clear(&cl->out);
}

static void hear(void *arg, struct str text)
{
	struct heard *h = arg;

	if (!text.p) {
		buf_clear(&h->text);
		h->voids++;
		return;
	}
	h->pieces++;
	buf_str(&h->text, text);
	if (h->cancel)
		llm_cancel(*h->cancel);
}

static const char *member(json_t *j, const char *name, const char *otherwise)
{
	const char *s = json_string_value(json_object_get(j, name));

	return s ? s : otherwise;
}

static json_int_t number(json_t *j, const char *name, json_int_t otherwise)
{
	json_t *n = json_object_get(j, name);

	return n ? json_integer_value(n) : otherwise;
}

static void put_result(struct client *cl, size_t i)
{
	const struct llm_result *r = llm_result(cl->calls[i]);
	struct buf *b = &cl->out;

	buf_printf(b,
	           "{\"call\":%zu,\"error\":\"%s\",\"finish\":\"%s\","
	           "\"provider\":%u,\"provider_name\":\"%s\","
	           "\"model\":\"%s\",\"in\":%" PRIu64 ",\"out\":%" PRIu64
	           ",\"estimated\":%s,\"cost\":%" PRIu64
	           ",\"tries\":%u,\"reason\":\"%s\",\"text\":",
	           i, err_name(r->err), llm_finish_name(r->finish), r->provider,
	           r->provider_name ? r->provider_name : "",
	           r->model ? r->model : "", r->tokens_in, r->tokens_out,
	           r->estimated ? "true" : "false", r->cost, r->tries,
	           r->reason);
	json_add_str(b, r->text);
	buf_printf(b,
	           ",\"voids\":%u,\"pieces\":%u,\"heard\":", cl->heard[i].voids,
	           cl->heard[i].pieces);
	json_add_str(b, buf_view(&cl->heard[i].text));
	buf_char(b, '}');
}

static enum err begin(struct client *cl, size_t i, json_t *how, bool cancel)
{
	static char image[IMAGE_MAX];
	const struct llm_message messages[] = {
		{.role = LLM_SYSTEM, .text = STR("You are a fixture.")},
		{.role = LLM_USER,
	         .text = str_from(member(how, "text", "a question")),
	         .image = {image, (size_t)number(how, "image", 0)},
	         .image_type = str_from(member(how, "type", "image/png"))}};
	struct llm_ask ask = {
		.messages = messages,
		.messages_n = COUNTOF(messages),
		.endpoint = "test",
		.json = number(how, "json", 0),
		.max_tokens = (unsigned)number(how, "max_tokens", 100),
		.temperature = (double)number(how, "temperature", -1),
		.deadline_ms =
			mono_ms() + (uint64_t)number(how, "deadline_ms", 20000),
		.user = str_from(member(how, "user", "")),
		.rid = STR("rid-of-the-test"),
		.first = (unsigned)number(how, "first", 0),
		.only = number(how, "only", 0),
	};

	if (number(how, "schema", 0)) {
		ask.schema_name = STR("answer");
		ask.schema = STR(SCHEMA);
	}
	cl->heard[i].cancel = cancel ? &cl->calls[i] : NULL;
	if (number(how, "listen", 1)) {
		ask.on_text = hear;
		ask.arg = &cl->heard[i];
	}
	return llm_begin(cl->llm, &ask, &cl->calls[i]);
}

static void do_ask(struct client *cl, json_t *how, bool cancel)
{
	size_t n = (size_t)number(how, "n", 1), begun = 0, i;
	uint64_t from = mono_ms();
	enum err e = OK;

	assert(n <= CALLS_MAX);
	for (; begun < n && !e; begun++)
		e = begin(cl, begun, how, cancel);
	buf_printf(&cl->out, "{\"answer\":\"%s\",\"begun\":%zu,\"results\":[",
	           err_name(e), e ? begun - 1 : begun);
	for (size_t told = 0; (i = llm_next(cl->calls, n)) < n; told++) {
		if (told)
			buf_char(&cl->out, ',');
		put_result(cl, i);
	}
	buf_printf(&cl->out, "],\"ms\":%" PRIu64 "}", mono_ms() - from);
	for (i = 0; i < n; i++) {
		llm_call_free(cl->calls[i]);
		cl->calls[i] = NULL;
		buf_fini(&cl->heard[i].text);
		cl->heard[i] = (struct heard){.voids = 0};
	}
	say(cl);
}

/* Begins calls and lets them go at once. */
static void do_leave(struct client *cl, json_t *how)
{
	size_t n = (size_t)number(how, "n", 1);

	for (size_t i = 0; i < n; i++) {
		assert(!begin(cl, i, how, false));
		llm_call_free(cl->calls[i]);
		cl->calls[i] = NULL;
	}
	buf_str(&cl->out, STR("{\"answer\":\"OK\"}"));
	say(cl);
}

static void do_metrics(struct client *cl)
{
	AUTO_BUF text = {0};

	metrics_render(cl->metrics, &text);
	buf_str(&cl->out, STR("{\"answer\":"));
	json_add_str(&cl->out, buf_view(&text));
	buf_char(&cl->out, '}');
	say(cl);
}

static void do_health(struct client *cl)
{
	char detail[160];
	enum health_state s = llm_health(cl->llm, detail, sizeof(detail));

	buf_printf(&cl->out,
	           "{\"answer\":\"%s\",\"detail\":", health_state_name(s));
	json_add_str(&cl->out, str_from(detail));
	buf_char(&cl->out, '}');
	say(cl);
}

static void do_breakers(struct client *cl)
{
	static const char *const names[] = {[LLM_CLOSED] = "closed",
	                                    [LLM_OPEN] = "open",
	                                    [LLM_HALF_OPEN] = "half_open"};

	buf_str(&cl->out, STR("{\"answer\":["));
	for (unsigned i = 0; i < llm_providers(cl->llm); i++) {
		struct llm_breaker b;

		llm_breaker(cl->llm, i, &b);
		buf_printf(&cl->out, "%s\"%s\"", i ? "," : "", names[b.state]);
	}
	buf_printf(&cl->out, "],\"ready\":%s}",
	           llm_ready(cl->llm, 0, false) ? "true" : "false");
	say(cl);
}

static void obey(struct client *cl, char *line)
{
	struct str rest = str_from(line);
	struct str verb = str_cut(&rest, ' ');
	json_t *how = json_loadb(rest.p, rest.n, 0, NULL);

	if (str_eq(verb, STR("ask")))
		do_ask(cl, how, false);
	else if (str_eq(verb, STR("cancel")))
		do_ask(cl, how, true);
	else if (str_eq(verb, STR("leave")))
		do_leave(cl, how);
	else if (str_eq(verb, STR("metrics")))
		do_metrics(cl);
	else if (str_eq(verb, STR("health")))
		do_health(cl);
	else if (str_eq(verb, STR("breakers")))
		do_breakers(cl);
	else if (str_eq(verb, STR("reset"))) {
		llm_reset(cl->llm);
		do_breakers(cl);
	}
	json_decref(how);
}

int main(void)
{
	static struct client cl;
	struct settings conf;
	char *line = NULL;
	size_t room = 0;
	ssize_t n;
	enum err e;

	if (sodium_init() < 0 || !conf_load(&conf, FOR_CONTENT, stderr))
		return 2;
	cl.metrics = metrics_new();
	if (!cl.metrics || !log_start(STDOUT_FILENO, "llm_client"))
		return 2;
	conf_print(&conf, FOR_CONTENT, stdout);
	(void)fflush(stdout);
	cl.quota = quota_new(&conf, NULL, NULL, cl.metrics);
	e = cl.quota ? llm_start(&conf, cl.metrics, &cl.llm) : ERR_NOMEM;
	if (!e)
		e = llm_limit(cl.llm, cl.quota);
	buf_printf(&cl.out, "{\"answer\":%u}", llm_providers(cl.llm));
	say(&cl);
	while (!e && (n = getline(&line, &room, stdin)) > 0) {
		line[n - 1] = '\0';
		obey(&cl, line);
	}
	free(line);
	llm_stop(cl.llm);
	quota_free(cl.quota);
	metrics_free(cl.metrics);
	buf_fini(&cl.out);
	log_stop();
	conf_fini(&conf);
	return e ? 2 : 0;
}
