/*
 * What of signing needs no database: sealing, secret files, fresh key pairs,
 * issuing.  Rotation and the lock are in tests/store/test_auth_store.c.
 */
#include "common/base/kek.h"
#include "common/base/secret_file.h"
#include "svc-auth/auth.h"
#include "svc-auth/es256.h"
#include "tests/alloc_fault.h"

#include "common/base/b64.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define KEK   STR("0123456789abcdef0123456789abcdef")
#define OTHER STR("0123456789abcdef0123456789abcdeg")

struct folder {
	char path[64];
};

static int setup(void **state)
{
	struct folder *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	(void)snprintf(f->path, sizeof(f->path), "/tmp/kae-secret-XXXXXX");
	*state = f;
	return mkdtemp(f->path) ? 0 : -1;
}

static int teardown(void **state)
{
	static const char *const names[] = {"secret", "key_encryption.key"};
	struct folder *f = *state;
	char path[SECRET_PATH_MAX];

	for (size_t i = 0; i < COUNTOF(names); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", f->path, names[i]);
		(void)unlink(path);
	}
	/* Fails, and the test with it, when a temporary file was left over. */
	if (rmdir(f->path))
		return -1;
	free(f);
	return 0;
}

/* --- sealing -------------------------------------------------------------- */

static void what_is_sealed_comes_back_with_the_same_key_and_label(void **state)
{
	unsigned char box[SEAL_MAX], plain[SEAL_PLAIN_MAX];
	struct seal_key k;
	size_t n = 0, got = 0;

	(void)state;
	seal_key_from_text(KEK, &k);
	assert_true(seal(&k, STR("the key"), STR("kid"), box, &n));
	assert_int_equal(n, 7 + SEAL_OVERHEAD);
	assert_true(unseal(&k, (struct str){(char *)box, n}, STR("kid"), plain,
	                   &got));
	assert_int_equal(got, 7);
	assert_memory_equal(plain, "the key", 7);
}

static void another_key_or_label_opens_nothing(void **state)
{
	unsigned char box[SEAL_MAX], plain[SEAL_PLAIN_MAX];
	struct seal_key k, other;
	size_t n = 0, got = 99;

	(void)state;
	seal_key_from_text(KEK, &k);
	seal_key_from_text(OTHER, &other);
	assert_true(seal(&k, STR("the key"), STR("kid"), box, &n));
	assert_false(unseal(&other, (struct str){(char *)box, n}, STR("kid"),
	                    plain, &got));
	assert_false(unseal(&k, (struct str){(char *)box, n}, STR("kie"), plain,
	                    &got));
	assert_int_equal(got, 99);
}

static void an_altered_or_cut_box_does_not_open(void **state)
{
	unsigned char box[SEAL_MAX], plain[SEAL_PLAIN_MAX];
	struct seal_key k;
	size_t n = 0, got;

	(void)state;
	seal_key_from_text(KEK, &k);
	assert_true(seal(&k, STR("x"), STR("kid"), box, &n));
	for (size_t i = 0; i < n; i++) {
		box[i] ^= 1;
		assert_false(unseal(&k, (struct str){(char *)box, n},
		                    STR("kid"), plain, &got));
		box[i] ^= 1;
		assert_false(unseal(&k, (struct str){(char *)box, i},
		                    STR("kid"), plain, &got));
	}
}

static void two_boxes_of_one_text_differ(void **state)
{
	unsigned char a[SEAL_MAX], b[SEAL_MAX];
	struct seal_key k;
	size_t n, m;

	(void)state;
	seal_key_from_text(KEK, &k);
	assert_true(seal(&k, STR("same"), STR("kid"), a, &n));
	assert_true(seal(&k, STR("same"), STR("kid"), b, &m));
	assert_int_equal(n, m);
	assert_memory_not_equal(a, b, n);
}

static void more_than_the_bound_is_not_sealed(void **state)
{
	static const char big[SEAL_PLAIN_MAX + 1];
	unsigned char box[SEAL_MAX];
	struct seal_key k;
	size_t n;

	(void)state;
	seal_key_from_text(KEK, &k);
	assert_true(
		seal(&k, (struct str){big, SEAL_PLAIN_MAX}, STR(""), box, &n));
	assert_false(
		seal(&k, (struct str){big, sizeof(big)}, STR(""), box, &n));
}

/* --- files ---------------------------------------------------------------- */

static void a_secret_is_created_once_and_for_its_owner_alone(void **state)
{
	const struct folder *f = *state;
	char path[SECRET_PATH_MAX], text[SECRET_FILE_MAX];
	struct stat st;
	size_t n = 0;

	assert_true(secret_path(str_from(f->path), "secret", path));
	assert_int_equal(secret_file_read(path, text, &n), ERR_NOT_FOUND);
	assert_int_equal(secret_file_create(path, STR("first")), OK);
	assert_int_equal(secret_file_create(path, STR("second")), ERR_EXISTS);
	assert_int_equal(secret_file_read(path, text, &n), OK);
	assert_int_equal(n, 5);
	assert_memory_equal(text, "first", 5);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void an_empty_or_overlong_secret_is_refused(void **state)
{
	const struct folder *f = *state;
	char path[SECRET_PATH_MAX], text[SECRET_FILE_MAX];
	char big[SECRET_FILE_MAX + 1];
	size_t n = 0;
	int fd;

	assert_true(secret_path(str_from(f->path), "secret", path));
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, " \n", 2), 2);
	assert_int_equal(secret_file_read(path, text, &n), ERR_INVALID);
	memset(big, 'x', sizeof(big));
	assert_int_equal(write(fd, big, sizeof(big)), sizeof(big));
	assert_int_equal(secret_file_read(path, text, &n), ERR_INVALID);
	(void)close(fd);
	assert_int_equal(secret_file_read(f->path, text, &n), ERR_INVALID);
}

static void a_path_that_does_not_fit_is_refused(void **state)
{
	char path[SECRET_PATH_MAX], dir[SECRET_PATH_MAX];

	(void)state;
	memset(dir, 'd', sizeof(dir));
	assert_false(secret_path((struct str){dir, sizeof(dir)}, "f", path));
}

static struct settings settings(const struct folder *f, enum env env)
{
	return (struct settings){.env = env, .data_dir = str_from(f->path)};
}

static void development_makes_its_sealing_key_once(void **state)
{
	const struct folder *f = *state;
	struct settings s = settings(f, ENV_DEVELOPMENT);
	struct kek_ring a, b;

	assert_int_equal(kek_load(&s, &a), OK);
	assert_int_equal(a.n, 1);
	assert_int_equal(kek_load(&s, &b), OK);
	assert_memory_equal(&a, &b, sizeof(a));
	/* The file is kept when the folder goes to production later. */
	s.env = ENV_PRODUCTION;
	assert_int_equal(kek_load(&s, &b), OK);
	assert_memory_equal(&a, &b, sizeof(a));
	s.key_encryption_key = KEK;
	assert_int_equal(kek_load(&s, &b), OK);
	assert_string_not_equal(a.kek[0].id, b.kek[0].id);
}

static void elsewhere_a_sealing_key_must_be_given(void **state)
{
	static const enum env envs[] = {ENV_TESTING, ENV_STAGING,
	                                ENV_PRODUCTION};
	const struct folder *f = *state;

	for (size_t i = 0; i < COUNTOF(envs); i++) {
		struct settings s = settings(f, envs[i]);
		struct kek_ring k;

		assert_int_equal(kek_load(&s, &k), ERR_INVALID);
		s.key_encryption_key = STR("short");
		assert_int_equal(kek_load(&s, &k), ERR_INVALID);
	}
}

#define A32 "abcdefghijklmnopqrstuvwxyz012345"
#define B32 "bbcdefghijklmnopqrstuvwxyz012345"

static void a_list_of_sealing_keys_has_an_order(void **state)
{
	struct kek_ring both, one;

	(void)state;
	assert_null(kek_parse(STR(B32 " , " A32), &both));
	assert_int_equal(both.n, 2);
	assert_null(kek_parse(STR(A32), &one));
	assert_int_equal(one.n, 1);
	assert_string_equal(one.kek[0].id, both.kek[1].id);
	assert_memory_equal(&one.kek[0].key, &both.kek[1].key,
	                    sizeof(one.whole));
	/* As one key was read before there were lists. */
	assert_memory_equal(&one.kek[0].key, &one.whole, sizeof(one.whole));
	assert_memory_not_equal(&both.kek[0].key, &both.whole,
	                        sizeof(one.whole));
	assert_ptr_equal(kek_find(&both, str_from(one.kek[0].id)),
	                 &both.kek[1]);
	assert_null(kek_find(&one, str_from(both.kek[0].id)));
	assert_null(kek_find(&one, STR("")));
}

static void a_malformed_list_of_sealing_keys_is_refused(void **state)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
		{"", "32 characters"},
		{"short", "32 characters"},
		{A32 ",", "without a key"},
		{"," A32, "32 characters"},
		{A32 ",," B32, "32 characters"},
		{A32 ",short", "32 characters"},
		{A32 ", " A32, "twice"},
		{A32 "," B32 "," A32, "twice"},
	};
	struct kek_ring r = {.n = 7};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		const char *why = kek_parse(str_from(cases[i].text), &r);

		assert_non_null(why);
		assert_non_null(strstr(why, cases[i].why));
		assert_int_equal(r.n, 7); /* untouched */
	}
}

static void sixteen_sealing_keys_are_enough(void **state)
{
	AUTO_BUF text = {0};
	struct kek_ring r;

	(void)state;
	for (int i = 0; i < KEK_MAX; i++)
		buf_printf(&text, "%s%032d", i ? "," : "", i);
	assert_null(kek_parse(buf_view(&text), &r));
	assert_int_equal(r.n, KEK_MAX);
	buf_printf(&text, ",%032d", KEK_MAX);
	assert_non_null(strstr(kek_parse(buf_view(&text), &r), "16"));
}

/* --- key pairs and tokens ------------------------------------------------- */

static void every_key_pair_has_a_kid_of_its_own(void **state)
{
	AUTO_ES256 a = {0};
	AUTO_ES256 b = {0};
	unsigned char raw[32];
	size_t n = 0;

	(void)state;
	assert_true(es256_generate(&a) && es256_generate(&b));
	assert_string_not_equal(a.kid, b.kid);
	assert_true(b64url_decode(str_from(a.kid), raw, sizeof(raw), &n));
	assert_int_equal(n, sizeof(raw));
	assert_int_equal(strlen(a.pem), a.pem_n);
	assert_non_null(strstr(a.pem, "PRIVATE KEY"));
}

static const struct token_claims claims = {
	.issuer = {"i", 1},
	.audience = {"a", 1},
	.sub = "s",
	.hnd = "h",
	.sid = "d",
	.role = ROLE_USER,
	.tier = TIER_FREE,
};

static void a_broken_key_signs_nothing(void **state)
{
	static const char *const pems[] = {
		"x",
		"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
	};
	AUTO_BUF out = {0};

	(void)state;
	for (size_t i = 0; i < COUNTOF(pems); i++)
		assert_int_not_equal(token_issue(&claims, "kid",
		                                 str_from(pems[i]), &out),
		                     OK);
	assert_int_equal(out.n, 0);
}

static void every_failing_allocation_is_an_error_and_no_leak(void **state)
{
	AUTO_ES256 k = {0};

	(void)state;
	assert_true(es256_generate(&k));
	for (unsigned n = 1;; n++) {
		AUTO_BUF out = {0};
		enum err e;
		bool failed;

		alloc_fault_arm(n);
		e = token_issue(&claims, k.kid, (struct str){k.pem, k.pem_n},
		                &out);
		failed = alloc_fault_disarm();
		assert_int_equal(e, failed ? ERR_NOMEM : OK);
		if (!failed)
			break;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			what_is_sealed_comes_back_with_the_same_key_and_label),
		cmocka_unit_test(another_key_or_label_opens_nothing),
		cmocka_unit_test(an_altered_or_cut_box_does_not_open),
		cmocka_unit_test(two_boxes_of_one_text_differ),
		cmocka_unit_test(more_than_the_bound_is_not_sealed),
		cmocka_unit_test_setup_teardown(
			a_secret_is_created_once_and_for_its_owner_alone, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			an_empty_or_overlong_secret_is_refused, setup,
			teardown),
		cmocka_unit_test(a_path_that_does_not_fit_is_refused),
		cmocka_unit_test_setup_teardown(
			development_makes_its_sealing_key_once, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			elsewhere_a_sealing_key_must_be_given, setup, teardown),
		cmocka_unit_test(a_list_of_sealing_keys_has_an_order),
		cmocka_unit_test(a_malformed_list_of_sealing_keys_is_refused),
		cmocka_unit_test(sixteen_sealing_keys_are_enough),
		cmocka_unit_test(every_key_pair_has_a_kid_of_its_own),
		cmocka_unit_test(a_broken_key_signs_nothing),
		cmocka_unit_test(
			every_failing_allocation_is_an_error_and_no_leak),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
