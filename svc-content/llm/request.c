/* What is sent: the body of POST /chat/completions. */
#include "svc-content/llm/inner.h"

#include "common/codec/json.h"

#include <sodium.h>

static void add_image(struct buf *out, struct str image)
{
	size_t room = sodium_base64_ENCODED_LEN(image.n,
	                                        sodium_base64_VARIANT_ORIGINAL);

	if (!buf_reserve(out, room))
		return;
	(void)sodium_bin2base64(out->p + out->n, room,
	                        (const unsigned char *)image.p, image.n,
	                        sodium_base64_VARIANT_ORIGINAL);
	out->n += room - 1; /* without the NUL */
}

static void add_content(struct buf *out, const struct llm_message *m)
{
	if (m->image.n == 0) {
		json_add_str(out, m->text);
		return;
	}
	buf_str(out, STR("[{\"type\":\"text\",\"text\":"));
	json_add_str(out, m->text);
	buf_printf(out,
	           "},{\"type\":\"image_url\",\"image_url\":{\"url\":"
	           "\"data:%.*s;base64,",
	           STR_FMT(m->image_type));
	add_image(out, m->image);
	buf_str(out, STR("\"}}]"));
}

void request_messages(struct buf *out, const struct llm_ask *ask)
{
	static const char *const roles[] = {[LLM_SYSTEM] = "system",
	                                    [LLM_USER] = "user",
	                                    [LLM_ASSISTANT] = "assistant"};

	buf_char(out, '[');
	for (size_t i = 0; i < ask->messages_n; i++) {
		buf_printf(out, "%s{\"role\":\"%s\",\"content\":", i ? "," : "",
		           roles[ask->messages[i].role]);
		add_content(out, &ask->messages[i]);
		buf_char(out, '}');
	}
	buf_char(out, ']');
}

static void add_format(struct buf *out, const struct llm_request *r,
                       unsigned can)
{
	if (!r->json)
		return;
	if (r->schema.n && (can & CAN_SCHEMA)) {
		buf_printf(out,
		           ",\"response_format\":{\"type\":\"json_schema\","
		           "\"json_schema\":{\"name\":\"%.*s\",\"strict\":true,"
		           "\"schema\":",
		           STR_FMT(r->schema_name));
		buf_str(out, r->schema);
		buf_str(out, STR("}}"));
	} else if (can & CAN_OBJECT) {
		buf_str(out,
		        STR(",\"response_format\":{\"type\":\"json_object\"}"));
	}
}

void request_write(struct buf *out, const struct llm_request *r,
                   const char *model, unsigned can)
{
	buf_str(out, STR("{\"model\":"));
	json_add_str(out, str_from(model));
	buf_str(out, STR(",\"messages\":"));
	buf_str(out, r->messages);
	if (r->temperature >= 0) {
		buf_str(out, STR(",\"temperature\":"));
		json_add_f64(out, r->temperature);
	}
	if (r->max_tokens)
		buf_printf(out, ",\"%s\":%u",
		           can & CAN_MAX_COMPLETION ? "max_completion_tokens"
		                                    : "max_tokens",
		           r->max_tokens);
	add_format(out, r, can);
	if (r->user.n && (can & CAN_USER)) {
		buf_str(out, STR(",\"user\":"));
		json_add_str(out, r->user);
	}
	if (can & CAN_STREAM)
		buf_str(out, STR(",\"stream\":true"));
	if ((can & CAN_STREAM) && (can & CAN_USAGE))
		buf_str(out,
		        STR(",\"stream_options\":{\"include_usage\":true}"));
	buf_char(out, '}');
}
