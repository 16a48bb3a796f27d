/* Decoding in a process of its own, and what that process cannot do. */
#include "tests/unit/image_fixture.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "svc-content/image/decode.h"
#include "svc-content/image/jail.h"
#include "svc-content/image/worker.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PIXELS ((uint64_t)50 * 1000 * 1000)

static const enum corner as_made[4] = {RED, GREEN, BLUE, WHITE};

static struct decoder *fresh(uint64_t pixels, unsigned workers)
{
	const struct decode_conf conf = {pixels, workers};
	struct decoder *d = decoder_new(&conf);

	assert_non_null(d);
	return d;
}

static enum picture_fault decode(struct decoder *d, struct str s,
                                 struct picture *out)
{
	enum picture_fault f = PICTURE_FAULTS;

	assert_int_equal(decode_picture(d, s, mono_ms() + 60000, &f, out), OK);
	return f;
}

static void a_picture_comes_back_from_the_worker(void **state)
{
	AUTO(decoder) d = fresh(PIXELS, 1);
	const struct jpeg_kind jpeg = {.components = 3};
	const struct png_kind png = {PNG_COLOR_TYPE_RGBA, 8,
	                             .interlaced = true};
	const struct gif_kind gif = {.interlaced = true};
	const struct webp_kind webp = {.lossless = true};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		AUTO_BUF b = {0};
		AUTO_PICTURE p = {0};

		if (i == 0)
			jpeg_of(&b, 2000, 1000, &jpeg);
		else if (i == 1)
			png_of(&b, 2000, 1000, &png);
		else if (i == 2)
			gif_of(&b, 2000, 1000, &gif);
		else
			webp_of(&b, 2000, 1000, &webp);
		assert_int_equal(decode(d, buf_view(&b), &p), PICTURE_OK);
		assert_int_equal(p.w, 1024);
		assert_int_equal(p.h, 512);
		has_corners(&p, as_made, "from the worker");
	}
}

static void what_is_wrong_comes_back_too(void **state)
{
	AUTO(decoder) d = fresh(100, 1);
	const struct jpeg_kind k = {.components = 3};
	AUTO_BUF b = {0};
	AUTO_PICTURE p = {0};

	(void)state;
	jpeg_of(&b, 20, 20, &k);
	assert_int_equal(decode(d, buf_view(&b), &p), PICTURE_LARGE);
	b.n -= 30;
	decoder_free(d);
	d = fresh(PIXELS, 1);
	assert_int_equal(decode(d, buf_view(&b), &p), PICTURE_BROKEN);
	assert_int_equal(decode(d, STR("<svg/>"), &p), PICTURE_OTHER);
	assert_int_equal(decode(d, STR(""), &p), PICTURE_OTHER);
}

/* Six megapixels in a few thousand bytes, and all in memory at once. */
static void a_large_empty_picture_needs_no_more_than_it_may(void **state)
{
	AUTO(decoder) d = fresh(PIXELS, 1);
	const struct png_kind k = {PNG_COLOR_TYPE_GRAY, 2, .interlaced = true};
	AUTO_BUF b = {0};
	AUTO_PICTURE p = {0};

	(void)state;
	png_of(&b, 3000, 2000, &k);
	assert_int_equal(decode(d, buf_view(&b), &p), PICTURE_OK);
	assert_int_equal(p.w, 1024);
}

/* --- turns ----------------------------------------------------------------------- */

struct asker {
	struct decoder *d;
	struct str bytes;
	pthread_t thread;
	enum picture_fault fault;
};

static void *ask(void *arg)
{
	struct asker *a = arg;
	AUTO_PICTURE p = {0};

	a->fault = decode(a->d, a->bytes, &p);
	return NULL;
}

static void more_than_there_are_workers_wait_for_their_turn(void **state)
{
	AUTO(decoder) d = fresh(PIXELS, 2);
	const struct jpeg_kind k = {.components = 3};
	struct asker askers[8];
	AUTO_BUF b = {0};

	(void)state;
	jpeg_of(&b, 200, 100, &k);
	for (size_t i = 0; i < COUNTOF(askers); i++) {
		askers[i] = (struct asker){.d = d, .bytes = buf_view(&b)};
		assert_int_equal(pthread_create(&askers[i].thread, NULL, ask,
		                                &askers[i]),
		                 0);
	}
	for (size_t i = 0; i < COUNTOF(askers); i++) {
		assert_int_equal(pthread_join(askers[i].thread, NULL), 0);
		assert_int_equal(askers[i].fault, PICTURE_OK);
	}
}

static void no_turn_before_the_deadline_is_busy(void **state)
{
	AUTO(decoder) d = fresh(PIXELS, 0);
	enum picture_fault f;
	AUTO_PICTURE p = {0};

	(void)state;
	assert_int_equal(decode_picture(d, STR("GIF89a"), mono_ms() + 20, &f,
	                                &p),
	                 ERR_BUSY);
}

static void at_the_deadline_the_worker_is_killed(void **state)
{
	AUTO(decoder) d = fresh(PIXELS, 1);
	const struct jpeg_kind k = {.components = 3};
	enum picture_fault f = PICTURE_OK;
	AUTO_BUF b = {0};
	AUTO_PICTURE p = {0};

	(void)state;
	jpeg_of(&b, 200, 100, &k);
	assert_int_equal(decode_picture(d, buf_view(&b), mono_ms(), &f, &p),
	                 OK);
	assert_int_equal(f, PICTURE_SLOW);
	/* Nothing of it is left, and the turn is free again. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(decode(d, buf_view(&b), &p), PICTURE_OK);
}

/* --- the jail ---------------------------------------------------------------------- */

/* What somebody would do who has taken the worker over. */
static void open_a_file(void)
{
	(void)open("/etc/passwd", O_RDONLY | O_CLOEXEC);
}

static void make_a_socket(void)
{
	(void)socket(AF_INET, SOCK_STREAM, 0);
}

static void start_a_program(void)
{
	char name[] = "/bin/true";
	char *const argv[] = {name, NULL};

	(void)execv(name, argv);
}

static void fork_itself(void)
{
	(void)fork();
}

static void make_code(void)
{
	(void)mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
	           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void turn_data_into_code(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
	               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)mprotect(p, 4096, PROT_READ | PROT_EXEC);
}

static void signal_its_parent(void)
{
	(void)kill(getppid(), 0);
}

static void nothing_forbidden(void)
{
	void *p = malloc((size_t)8 << 20);

	if (!p)
		_exit(3);
	memset(p, 1, (size_t)8 << 20);
	free(p);
	(void)mono_ms();
}

static void take_more_memory(void)
{
	void *p = mmap(NULL, (size_t)256 << 20, PROT_READ | PROT_WRITE,
	               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	_exit(p == MAP_FAILED ? 0 : 3);
}

/* The exit code, or 128 and the signal. */
static int in_jail(void (*deed)(void))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		if (!jail_enter((uint64_t)128 << 20, 5))
			_exit(2);
		deed();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status)
	                           : WEXITSTATUS(status);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FORBIDDEN 0 /* it fails, and is not killed */
#else
#define FORBIDDEN (128 + SIGSYS)
#endif

static void in_jail_nothing_can_be_reached(void **state)
{
	static void (*const deeds[])(void) = {
		open_a_file, make_a_socket,       start_a_program,
		make_code,   turn_data_into_code, signal_its_parent,
	};

	(void)state;
	assert_int_equal(in_jail(nothing_forbidden), 0);
	for (size_t i = 0; i < COUNTOF(deeds); i++) {
		int how = in_jail(deeds[i]);

		if (how != FORBIDDEN)
			fail_msg("deed %zu ended with %d", i, how);
	}
#if FORBIDDEN
	assert_int_equal(in_jail(fork_itself), FORBIDDEN);
	assert_int_equal(in_jail(take_more_memory), 0);
#else
	(void)fork_itself;
	(void)take_more_memory;
#endif
}

static void the_flag_is_not_taken_for_another(void **state)
{
	char program[] = "x", flag[] = WORKER_FLAG, one[] = "1";
	char *const whole[] = {program, flag, one, one, one, NULL};
	char *const few[] = {program, flag, one, NULL};
	char *const other[] = {program, one, one, one, one, NULL};

	(void)state;
	assert_true(worker_is_asked(5, whole));
	assert_false(worker_is_asked(3, few));
	assert_false(worker_is_asked(5, other));
	assert_false(worker_is_asked(1, whole));
}

/* --- a worker in other hands ------------------------------------------------------- */

/* As which the test's own main() plays one: what it says, told by the pixels that
 * it may decode. */
enum deed { SAYS_NOTHING = 666, SAYS_NONSENSE, LIES, RAMBLES, HANGS, CRASHES };

static void say(uint32_t magic, uint32_t fault, uint32_t w, uint32_t h)
{
	const struct worker_answer a = {magic, fault, w, h};

	(void)!write(STDOUT_FILENO, &a, sizeof(a));
}

static int play(int64_t deed)
{
	static const char block[65536];

	switch (deed) {
	case SAYS_NONSENSE:
		say(1, 2, 3, 4);
		break;
	case LIES: /* of a size that is allowed, and then brings too little */
		say(WORKER_MAGIC, PICTURE_OK, 1024, 1024);
		(void)!write(STDOUT_FILENO, block, sizeof(block));
		break;
	case RAMBLES:
		say(WORKER_MAGIC, PICTURE_OK, 60000, 60000);
		while (write(STDOUT_FILENO, block, sizeof(block)) > 0)
			;
		break;
	case HANGS:
		for (;;)
			(void)pause();
	case CRASHES:
		(void)raise(SIGKILL);
		break;
	default:
		break;
	}
	return 0;
}

static void no_word_of_a_worker_is_believed(void **state)
{
	static const enum deed deeds[] = {SAYS_NOTHING, SAYS_NONSENSE, LIES,
	                                  RAMBLES, CRASHES};

	(void)state;
	log_threshold = LOG_ERROR;
	for (size_t i = 0; i < COUNTOF(deeds); i++) {
		AUTO(decoder) d = fresh(deeds[i], 1);
		AUTO_PICTURE p = {0};

		assert_int_equal(decode(d, STR("GIF89a"), &p), PICTURE_BROKEN);
		assert_null(p.rgb);
	}
}

static void a_worker_that_hangs_is_killed(void **state)
{
	AUTO(decoder) d = fresh(HANGS, 1);
	enum picture_fault f = PICTURE_OK;
	AUTO_PICTURE p = {0};

	(void)state;
	assert_int_equal(
		decode_picture(d, STR("GIF89a"), mono_ms() + 100, &f, &p), OK);
	assert_int_equal(f, PICTURE_SLOW);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

int main(int argc, char **argv)
{
	int64_t deed;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_picture_comes_back_from_the_worker),
		cmocka_unit_test(what_is_wrong_comes_back_too),
		cmocka_unit_test(
			a_large_empty_picture_needs_no_more_than_it_may),
		cmocka_unit_test(
			more_than_there_are_workers_wait_for_their_turn),
		cmocka_unit_test(no_turn_before_the_deadline_is_busy),
		cmocka_unit_test(at_the_deadline_the_worker_is_killed),
		cmocka_unit_test(in_jail_nothing_can_be_reached),
		cmocka_unit_test(the_flag_is_not_taken_for_another),
		cmocka_unit_test(no_word_of_a_worker_is_believed),
		cmocka_unit_test(a_worker_that_hangs_is_killed),
	};

	if (worker_is_asked(argc, argv) &&
	    str_to_i64(str_from(argv[2]), &deed) && deed >= SAYS_NOTHING &&
	    deed <= CRASHES)
		return play(deed);
	if (worker_is_asked(argc, argv))
		return worker_main(argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
