#include "svc-content/llm/reply.h"

static struct str text_of(json_t *j)
{
	return (struct str){json_string_value(j), json_string_length(j)};
}

static bool finish_of(struct str name, enum llm_finish *out)
{
	static const struct {
		const char *name;
		enum llm_finish finish;
	} rows[] = {
		{"stop", LLM_STOP},
		{"end_turn", LLM_STOP},
		{"eos", LLM_STOP},
		{"length", LLM_LENGTH},
		{"max_tokens", LLM_LENGTH},
		{"model_length", LLM_LENGTH},
		{"content_filter", LLM_FILTER},
		{"safety", LLM_FILTER},
		{"recitation", LLM_FILTER},
		{"prohibited_content", LLM_FILTER},
		{"refusal", LLM_REFUSED},
	};

	if (name.n == 0)
		return false;
	*out = LLM_OTHER;
	for (size_t i = 0; i < COUNTOF(rows); i++)
		if (str_ieq(name, str_from(rows[i].name)))
			*out = rows[i].finish;
	return true;
}

/* A text, or a list of parts of which some are. */
static void take_content(json_t *content, struct buf *text)
{
	json_t *part;
	size_t i;

	buf_str(text, text_of(content));
	json_array_foreach(content, i, part)
		buf_str(text, text_of(json_object_get(part, "text")));
}

static bool thinks(json_t *m)
{
	return text_of(json_object_get(m, "reasoning_content")).n ||
	       text_of(json_object_get(m, "reasoning")).n;
}

static void take_choice(struct completion *r, json_t *choice, struct buf *text)
{
	json_t *m = json_object_get(choice, "delta");
	size_t before = text->n;
	struct str refusal;

	if (!json_is_object(m))
		m = json_object_get(choice, "message");
	take_content(json_object_get(m, "content"), text);
	refusal = text_of(json_object_get(m, "refusal"));
	if (refusal.n) {
		r->refused = true;
		buf_str(text, refusal);
	}
	r->spoke = r->spoke || text->n > before || thinks(m);
	if (finish_of(text_of(json_object_get(choice, "finish_reason")),
	              &r->finish))
		r->finished = true;
}

static void take_usage(struct completion *r, json_t *usage)
{
	json_int_t in =
		json_integer_value(json_object_get(usage, "prompt_tokens"));
	json_int_t out =
		json_integer_value(json_object_get(usage, "completion_tokens"));

	if (in <= 0 && out <= 0)
		return;
	r->counted = true;
	r->tokens_in = in > 0 ? (uint64_t)in : 0;
	r->tokens_out = out > 0 ? (uint64_t)out : 0;
}

static enum reply_is take_root(struct completion *r, json_t *root,
                               struct buf *text, const struct hints *hints,
                               struct llm_fault *fault)
{
	json_t *choices, *error, *choice;
	size_t i;

	if (json_is_array(root)) /* as Google wraps it */
		root = json_array_get(root, 0);
	error = json_object_get(root, "error");
	choices = json_object_get(root, "choices");
	if ((error && !json_is_null(error)) ||
	    str_eq(text_of(json_object_get(root, "object")), STR("error"))) {
		*fault = fault_in(hints, root);
		return REPLY_ERROR;
	}
	if (!json_is_array(choices) && !json_object_get(root, "usage"))
		return REPLY_UNLIKE;
	json_array_foreach(
		choices, i,
		choice) if (json_integer_value(json_object_get(choice,
	                                                       "index")) == 0)
		take_choice(r, choice, text);
	take_usage(r, json_object_get(root, "usage"));
	return text->failed ? REPLY_NOMEM : REPLY_PART;
}

enum reply_is reply_take(struct completion *r, struct str json,
                         struct buf *text, const struct hints *hints,
                         struct llm_fault *fault)
{
	enum reply_is is;
	json_t *root;

	json = str_trim(json);
	if (str_eq(json, STR("[DONE]")))
		return REPLY_DONE;
	root = json_loadb(json.p ? json.p : "", json.n, 0, NULL);
	if (!root)
		return REPLY_UNLIKE;
	is = take_root(r, root, text, hints, fault);
	json_decref(root);
	return is;
}
