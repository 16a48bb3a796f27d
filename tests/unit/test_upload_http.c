/* A form with files on its way to a service, over a gateway in this process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/gateway_fixture.h"

#define PATH "/api/image2topic"
#define FORM "Content-Type: multipart/form-data; boundary=b\r\n"
#define PART                                                      \
	"--b\r\nContent-Disposition: form-data; name=\"image\"; " \
	"filename=\"photo.png\"\r\nContent-Type: image/png\r\n\r\n"
#define MB10   ((size_t)10 << 20)
#define AROUND 65536 /* of a form, beside its file */

static struct stack *st;

static int start(void **state)
{
	(void)state;
	quiet();
	st = stack_start(NULL, 0);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	stack_stop(st);
	return 0;
}

static struct answer post(const char *target, const char *headers,
                          struct str body)
{
	struct client c = client_to(st);
	AUTO_BUF b = {0};
	struct answer a;

	buf_printf(&b,
	           "POST %s HTTP/1.1\r\nHost: test\r\n%sContent-Length: "
	           "%zu\r\n\r\n",
	           target, headers, body.n);
	client_send(&c, buf_view(&b));
	client_send(&c, body);
	a = client_answer(&c, false, 60000);
	client_close(&c);
	return a;
}

static void form_of(struct buf *out, size_t n)
{
	buf_str(out, STR(PART));
	for (size_t i = 0; i < n; i++)
		buf_char(out, (char)(i * 31 + (i >> 8)));
	buf_str(out, STR("\r\n--b\r\nContent-Disposition: form-data; "
	                 "name=\"language\"\r\n\r\nde\r\n--b--\r\n"));
}

/* A form of one file and one field, as the service has got it. */
static void the_service_gets_the_file(void **state)
{
	static const size_t sizes[] = {0, 1, 1000, 100000};

	(void)state;
	for (size_t i = 0; i < COUNTOF(sizes); i++) {
		AUTO_BUF form = {0};
		AUTO_BUF text = {0};
		AUTO_BUF bin = {0};
		AUTO_BUF mp = {0};
		struct str b, image;
		struct answer a;

		form_of(&form, sizes[i]);
		a = post(PATH, ALICE FORM, buf_view(&form));
		assert_int_equal(a.status, 200);
		assert_true(mp_find(body_of(&a, &mp), "b", &b));
		assert_true(
			str_eq(mp_find_str(b, "language", STR("")), STR("de")));
		assert_true(mp_find(b, "image", &image));
		assert_true(str_eq(mp_find_str(image, "name", STR("")),
		                   STR("photo.png")));
		assert_true(str_eq(mp_find_str(image, "type", STR("")),
		                   STR("image/png")));
		/* The echo writes a bin as base64, and as nothing else. */
		mp_bin(&bin, (struct str){form.p + sizeof(PART) - 1, sizes[i]});
		assert_true(mp_to_json(buf_view(&bin), &text));
		assert_true(str_eq(mp_find_str(image, "data", STR("none")),
		                   (struct str){text.p + 1, text.n - 2}));
		answer_fini(&a);
	}
}

static void json_is_taken_as_well(void **state)
{
	struct answer a = post(PATH, ALICE JSON, STR("{\"image\":\"x\"}"));
	AUTO_BUF mp = {0};
	struct str b;

	(void)state;
	assert_int_equal(a.status, 200);
	assert_true(mp_find(body_of(&a, &mp), "b", &b));
	assert_true(str_eq(mp_find_str(b, "image", STR("")), STR("x")));
	answer_fini(&a);
}

static void ten_megabytes_are_taken_and_more_are_not(void **state)
{
	AUTO_BUF form = {.max = (size_t)32 << 20};
	const char *headers = ALICE FORM;
	struct answer a;
	unsigned calls = st->fakes[PEER_CONTENT].calls;
	AUTO_BUF mp = {0};

	(void)state;
	form_of(&form, MB10);
	assert_true(form.n < MB10 + AROUND);
	/* An answer as long as that is refused, so the service tells less. */
	a = post(PATH "?mode=empty", headers, buf_view(&form));
	assert_int_equal(a.status, 204);
	answer_fini(&a);
	assert_int_equal(st->fakes[PEER_CONTENT].calls, calls + 1);
	buf_clear(&form);
	form_of(&form, MB10 + AROUND);
	a = post(PATH "?mode=empty", headers, buf_view(&form));
	is_problem(&a, 413, "REQUEST_TOO_LARGE");
	answer_fini(&a);
	assert_int_equal(st->fakes[PEER_CONTENT].calls, calls + 1);
}

static void is_told(const char *headers, const char *body, unsigned status,
                    const char *code, const char *words)
{
	struct answer a = post(PATH, headers, str_from(body));
	AUTO_BUF mp = {0};
	struct str detail;

	is_problem(&a, status, code);
	detail = mp_find_str(body_of(&a, &mp), "detail", STR(""));
	if (!memmem(detail.p, detail.n, words, strlen(words)))
		fail_msg("%.*s", STR_FMT(detail));
	answer_fini(&a);
}

static void what_is_malformed_never_reaches_a_service(void **state)
{
	unsigned calls = st->fakes[PEER_CONTENT].calls;

	(void)state;
	is_told(ALICE FORM, PART "x", 400, "INVALID_FORMAT",
	        "does not end with its boundary, at byte ");
	is_told(ALICE FORM, PART "x\r\n" PART "y\r\n--b--", 400,
	        "INVALID_FORMAT", "in the part \"image\"");
	is_told(ALICE FORM, "{}", 400, "INVALID_FORMAT",
	        "the boundary is not in the body, at byte 0.");
	is_told(ALICE "Content-Type: multipart/form-data\r\n", "--b--", 400,
	        "INVALID_FORMAT", "boundary");
	is_told(ALICE "Content-Type: multipart/mixed; boundary=b\r\n", "--b--",
	        415, "UNSUPPORTED_MEDIA_TYPE", "multipart/form-data");
	is_told(ALICE "Content-Type: image/png\r\n", "PNG", 415,
	        "UNSUPPORTED_MEDIA_TYPE", "application/json");
	is_told(ALICE, "--b--", 415, "UNSUPPORTED_MEDIA_TYPE",
	        "multipart/form-data");
	assert_int_equal(st->fakes[PEER_CONTENT].calls, calls);
}

static void other_routes_take_no_form(void **state)
{
	struct answer a =
		post("/api/quiz/generate", ALICE FORM, STR(PART "x\r\n--b--"));

	(void)state;
	is_problem(&a, 415, "UNSUPPORTED_MEDIA_TYPE");
	answer_fini(&a);
	a = post("/api/cache/invalidate", ADMIN FORM, STR("--b--"));
	is_problem(&a, 415, "UNSUPPORTED_MEDIA_TYPE");
	answer_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_service_gets_the_file),
		cmocka_unit_test(json_is_taken_as_well),
		cmocka_unit_test(ten_megabytes_are_taken_and_more_are_not),
		cmocka_unit_test(what_is_malformed_never_reaches_a_service),
		cmocka_unit_test(other_routes_take_no_form),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
