#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/base/ctx.h"
#include "common/base/log.h"
#include "tests/alloc_fault.h"

#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A log into a file without a name, read back whole. */
static int begin(void)
{
	int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_true(log_start(fd, "test"));
	return fd;
}

static void end(int fd, struct buf *out)
{
	char part[4096];
	ssize_t n;

	log_stop();
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	while ((n = read(fd, part, sizeof(part))) > 0)
		buf_add(out, part, (size_t)n);
	(void)close(fd);
}

/* The one line that there is, parsed. */
static json_t *only_line(const struct buf *out)
{
	json_error_t why;
	json_t *j;

	if (!out->p || out->n == 0) {
		fail();
		return NULL;
	}
	assert_true(out->p[out->n - 1] == '\n');
	assert_ptr_equal(memchr(out->p, '\n', out->n), out->p + out->n - 1);
	j = json_loadb(out->p, out->n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL,
	               &why);
	if (!j)
		fail_msg("%s: %.*s", why.text, (int)out->n, out->p);
	return j;
}

static const char *text(const json_t *j, const char *key)
{
	return json_string_value(json_object_get(j, key));
}

static void a_line_carries_its_typed_fields(void **state)
{
	const struct ctx cx = {.service = "auth", .rid = STR("r-1")};
	int fd = begin();
	AUTO_BUF out = {0};
	json_t *j;

	(void)state;
	log_info(&cx, "export.started", LOG_STR("kind", STR("full")),
	         LOG_I64("i", INT64_MIN), LOG_U64("u", INT64_MAX),
	         LOG_F64("f", 0.5), LOG_BOOL("b", true),
	         LOG_TEXT("none", NULL));
	end(fd, &out);
	j = only_line(&out);
	assert_string_equal(text(j, "level"), "info");
	assert_string_equal(text(j, "service"), "auth");
	assert_string_equal(text(j, "event"), "export.started");
	assert_string_equal(text(j, "request_id"), "r-1");
	assert_string_equal(text(j, "kind"), "full");
	assert_string_equal(text(j, "none"), "");
	assert_int_equal(strlen(text(j, "ts")), 24);
	assert_true(json_integer_value(json_object_get(j, "i")) == INT64_MIN);
	assert_true(json_integer_value(json_object_get(j, "u")) == INT64_MAX);
	assert_true(json_real_value(json_object_get(j, "f")) == 0.5);
	assert_true(json_is_true(json_object_get(j, "b")));
	json_decref(j);
}

static void times_are_told_in_milliseconds_with_three_decimals(void **state)
{
	static const struct {
		uint64_t us;
		const char *want;
	} cases[] = {
		{0, ":0.000,"},
		{7, ":0.007,"},
		{999, ":0.999,"},
		{1000, ":1.000,"},
		{1234567, ":1234.567,"},
		{UINT64_MAX, ":18446744073709551.615,"},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		int fd = begin();
		AUTO_BUF out = {0};

		log_info(NULL, "took", LOG_MS("t", cases[i].us),
		         LOG_BOOL("last", false));
		end(fd, &out);
		json_decref(only_line(&out));
		buf_char(&out, '\0');
		assert_false(out.failed);
		if (!strstr(out.p, cases[i].want))
			fail_msg("%s in %s", cases[i].want, out.p);
	}
}

static void hostile_values_forge_nothing(void **state)
{
	static const struct {
		struct str planted;
		const char *read; /* NULL: only that the line is whole */
	} cases[] = {
		{STR("\",\"level\":\"error\",\"x\":\""),
	         "\",\"level\":\"error\",\"x\":\""},
		{STR("a\n{\"event\":\"forged\"}\n"),
	         "a\n{\"event\":\"forged\"}\n"},
		{STR("\\"), "\\"},
		{STR("\\\\\""), "\\\\\""},
		{STR("\x01\x1f\x7f\r\t\b"), "\x01\x1f\x7f\r\t\b"},
		{STR("\x1b[31mred"), "\x1b[31mred"},
		{STR("</script>"), "</script>"},
		{STR("機械 😀 فارسی"), "機械 😀 فارسی"},
		{STR("%s%n%d"), "%s%n%d"},
		{STR("nul\0inside"), NULL},
		{STR("latin-1 \xe9t\xe9"), "latin-1 \xef\xbf\xbdt\xef\xbf\xbd"},
		{STR("\xff\xfe\xed\xa0\x80"), NULL},
		{STR("cut \xf0\x9f\x98"), NULL},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		const struct ctx cx = {.service = "s", .rid = cases[i].planted};
		int fd = begin();
		AUTO_BUF out = {0};
		json_t *j;

		log_warn(&cx, "planted", LOG_STR("v", cases[i].planted));
		end(fd, &out);
		j = only_line(&out);
		assert_string_equal(text(j, "level"), "warn");
		assert_string_equal(text(j, "event"), "planted");
		if (cases[i].read) {
			assert_string_equal(text(j, "v"), cases[i].read);
			assert_string_equal(text(j, "request_id"),
			                    cases[i].read);
		}
		json_decref(j);
	}
}

static void over_long_values_are_cut_and_the_line_stays_whole(void **state)
{
	static const char *const fillers[] = {"x", "\"", "\n",
	                                      "é", "😀",  "\xff"};
	static char big[100000];

	(void)state;
	for (size_t k = 0; k < COUNTOF(fillers); k++) {
		size_t n = strlen(fillers[k]);

		for (size_t i = 0; i + n <= sizeof(big); i += n)
			memcpy(big + i, fillers[k], n);
		/* Each length around the end of the line. */
		for (size_t at = 3900; at < LOG_LINE_MAX + 20; at++) {
			int fd = begin();
			AUTO_BUF out = {0};
			json_t *j;

			log_info(NULL, "long",
			         LOG_STR("v", ((struct str){big, at})),
			         LOG_STR("w", ((struct str){big, sizeof(big)})),
			         LOG_U64("last", 1));
			end(fd, &out);
			assert_true(out.n <= LOG_LINE_MAX);
			j = only_line(&out);
			assert_string_equal(text(j, "service"), "test");
			json_decref(j);
		}
	}
}

static void many_fields_are_left_out_whole(void **state)
{
	struct log_field fields[400];
	AUTO_BUF out = {0};
	int fd = begin();
	json_t *j;

	(void)state;
	for (size_t i = 0; i < COUNTOF(fields); i++)
		fields[i] = LOG_U64("a_name_of_some_length", UINT64_MAX);
	log_emit(LOG_INFO, NULL, "many", fields, COUNTOF(fields));
	end(fd, &out);
	assert_true(out.n <= LOG_LINE_MAX);
	j = json_loadb(out.p, out.n, JSON_DECODE_INT_AS_REAL, NULL);
	assert_non_null(j);
	json_decref(j);
}

static void numbers_that_json_lacks_are_written_as_0(void **state)
{
	int fd = begin();
	AUTO_BUF out = {0};
	json_t *j;

	(void)state;
	log_info(NULL, "odd", LOG_F64("nan", (double)NAN),
	         LOG_F64("inf", (double)INFINITY));
	end(fd, &out);
	j = only_line(&out);
	assert_true(json_number_value(json_object_get(j, "nan")) == 0);
	json_decref(j);
}

static void what_is_below_the_threshold_is_not_written(void **state)
{
	int fd = begin();
	AUTO_BUF out = {0};
	enum log_level level = LOG_ERROR;

	(void)state;
	log_debug(NULL, "quiet");
	atomic_store(&log_threshold, LOG_ERROR);
	log_warn(NULL, "quiet");
	atomic_store(&log_threshold, LOG_INFO);
	log_info(NULL, "told");
	end(fd, &out);
	json_decref(only_line(&out));
	assert_true(log_level_from_str(STR("DEBUG"), &level));
	assert_int_equal(level, LOG_DEBUG);
	assert_false(log_level_from_str(STR("loud"), &level));
}

#define THREADS 4
#define LINES   500

static void *chatter(void *arg)
{
	(void)arg;
	for (int i = 0; i < LINES; i++)
		log_info(NULL, "line", LOG_I64("i", i));
	return NULL;
}

static void every_line_of_many_threads_is_written_or_counted(void **state)
{
	pthread_t threads[THREADS];
	uint64_t before = log_dropped();
	size_t lines = 0;
	AUTO_BUF out = {0};
	int fd = begin();

	(void)state;
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, chatter, NULL), 0);
	for (size_t i = 0; i < THREADS; i++)
		(void)pthread_join(threads[i], NULL);
	end(fd, &out);
	for (struct str rest = buf_view(&out); rest.n; lines++) {
		struct str line = str_cut(&rest, '\n');
		json_t *j = json_loadb(line.p, line.n, 0, NULL);

		assert_non_null(j);
		json_decref(j);
	}
	assert_int_equal(lines + (log_dropped() - before), THREADS * LINES);
}

static void *stop(void *arg)
{
	log_stop();
	return arg;
}

/* A pipe that nobody reads stops the writer; callers must not notice. */
static void a_stuck_reader_costs_lines_never_time(void **state)
{
	uint64_t before = log_dropped();
	char filler[2000], sink[65536];
	int ends[2];

	(void)state;
	memset(filler, 'x', sizeof(filler));
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_true(log_start(ends[1], "test"));
	for (int i = 0; i < 2000; i++)
		log_info(NULL, "stuck",
		         LOG_STR("v", ((struct str){filler, sizeof(filler)})));
	assert_true(log_dropped() > before);
	/* What waits is bounded by the two halves and the pipe. */
	assert_true(log_dropped() - before > 2000 - 1200);
	assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
	{
		/* The writer ends only when it is read again. */
		pthread_t stopper;

		assert_int_equal(pthread_create(&stopper, NULL, stop, NULL), 0);
		while (pthread_tryjoin_np(stopper, NULL) != 0)
			(void)!read(ends[0], sink, sizeof(sink));
	}
	(void)close(ends[0]);
	(void)close(ends[1]);
}

static void a_log_without_memory_does_not_start(void **state)
{
	bool more = true;

	(void)state;
	for (unsigned nth = 1; more; nth++) {
		bool ok;

		alloc_fault_arm(nth);
		ok = log_start(STDERR_FILENO, "test");
		more = alloc_fault_disarm();
		assert_int_equal(ok, !more);
		if (ok)
			log_stop();
	}
	log_stop(); /* twice is fine */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_carries_its_typed_fields),
		cmocka_unit_test(
			times_are_told_in_milliseconds_with_three_decimals),
		cmocka_unit_test(hostile_values_forge_nothing),
		cmocka_unit_test(
			over_long_values_are_cut_and_the_line_stays_whole),
		cmocka_unit_test(many_fields_are_left_out_whole),
		cmocka_unit_test(numbers_that_json_lacks_are_written_as_0),
		cmocka_unit_test(what_is_below_the_threshold_is_not_written),
		cmocka_unit_test(
			every_line_of_many_threads_is_written_or_counted),
		cmocka_unit_test(a_stuck_reader_costs_lines_never_time),
		cmocka_unit_test(a_log_without_memory_does_not_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
