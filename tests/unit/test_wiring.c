#include "common/service/wiring.h"

#include "tests/alloc_fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define KEY "0123456789abcdef0123456789abcdef"

static char dir[] = "/tmp/kae-wiring-XXXXXX";

/* Settings of a fresh environment with these; NULL ends the pairs. */
static struct settings settings_with(const char *const *pairs)
{
	struct settings conf;

	assert_int_equal(clearenv(), 0);
	assert_int_equal(setenv("ENVIRONMENT", "production", 1), 0);
	for (; pairs && *pairs; pairs += 2)
		assert_int_equal(setenv(pairs[0], pairs[1], 1), 0);
	assert_true(conf_load(&conf, FOR_ALL, stderr));
	return conf;
}

/* How many lines were complained of. */
static size_t lines(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

static void links_without_a_key_are_refused_outside_development(void **state)
{
	static const struct {
		const char *pairs[9];
		bool ok;
	} cases[] = {
		{{NULL}, true},
		{{"BUS_AUTH", "tcp://auth:7001", NULL}, false},
		{{"BUS_AUTH", "ipc://a.sock, tcp://auth:7001", NULL}, false},
		{{"BUS_AUTH", "tcp4://auth:7001", NULL}, false},
		{{"BUS_LISTEN", "tcp://0.0.0.0:7001", NULL}, false},
		{{"BUS_AUTH", "tls+tcp://auth:7001", NULL}, false},
		{{"BUS_LISTEN", "tls+tcp://0.0.0.0:7001", "BUS_TLS_CERT",
	          "a.crt", "BUS_TLS_KEY", "a.key", NULL},
	         false},
		{{"BUS_AUTH", "tls+tcp://auth:7001", "BUS_TLS_CERT", "a.crt",
	          "BUS_TLS_KEY", "a.key", "BUS_TLS_CA", "ca.crt", NULL},
	         true},
		{{"BUS_AUTH", "tcp://auth:7001", "BUS_KEY", KEY, NULL}, true},
		{{"BUS_AUTH", "tcp://auth:7001", "BUS_KEY", "short", NULL},
	         false},
		{{"BUS_AUTH", "tcp://auth:7001", "ENVIRONMENT", "development",
	          NULL},
	         true},
		{{"BUS_AUTH", "tcp://auth:7001", "ENVIRONMENT", "staging",
	          NULL},
	         false},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct settings conf = settings_with(cases[i].pairs);
		struct wiring w;
		char *text = NULL;
		size_t n = 0;
		FILE *f = open_memstream(&text, &n);

		assert_non_null(f);
		assert_int_equal(wiring_init(&w, &conf, false, f), cases[i].ok);
		(void)fclose(f);
		assert_int_equal(lines(text), !cases[i].ok);
		free(text);
		wiring_fini(&w);
		conf_fini(&conf);
	}
}

static void a_service_listens_on_the_first_of_its_urls(void **state)
{
	static const char *const pairs[] = {"BUS_AUTH",
	                                    " ipc://one.sock , ipc://two.sock",
	                                    NULL};
	static const char *const given[] = {"BUS_LISTEN", "ipc://mine.sock",
	                                    "BUS_GDPR", "ipc://gdpr.sock",
	                                    NULL};
	struct settings conf = settings_with(pairs);
	struct wiring w;

	(void)state;
	assert_true(wiring_init(&w, &conf, false, stderr));
	assert_string_equal(w.listen[PEER_AUTH], "ipc://one.sock");
	assert_string_equal(w.urls[PEER_AUTH], pairs[1]);
	assert_null(w.urls[PEER_GATEWAY]);
	conf_fini(&conf);
	conf = settings_with(given);
	assert_true(wiring_init(&w, &conf, false, stderr));
	assert_string_equal(w.listen[PEER_GDPR], "ipc://mine.sock");
	assert_string_equal(w.urls[PEER_GDPR], "ipc://gdpr.sock");
	conf_fini(&conf);
}

static void in_one_process_services_are_inproc_unless_said(void **state)
{
	static const char *const pairs[] = {"BUS_GDPR", "ipc://gdpr.sock",
	                                    NULL};
	struct settings conf = settings_with(pairs);
	struct wiring w;

	(void)state;
	assert_true(wiring_init(&w, &conf, true, stderr));
	assert_string_equal(w.urls[PEER_AUTH], "inproc://auth");
	assert_string_equal(w.listen[PEER_CONTENT], "inproc://content");
	assert_string_equal(w.listen[PEER_GDPR], "ipc://gdpr.sock");
	conf_fini(&conf);
}

static void settings_are_checked_together_too(void **state)
{
	static const struct {
		const char *pairs[9];
		unsigned who;
		size_t faults;
	} cases[] = {
		{{NULL}, FOR_ALL, 1}, /* KEY_ENCRYPTION_KEY */
		{{NULL}, FOR_GATEWAY | FOR_GDPR, 0},
		{{"KEY_ENCRYPTION_KEY", KEY, NULL}, FOR_ALL, 0},
		{{"KEY_ENCRYPTION_KEY", KEY "," KEY "2", NULL}, FOR_ALL, 0},
		{{"KEY_ENCRYPTION_KEY", KEY "," KEY, NULL}, FOR_AUTH, 1},
		{{"KEY_ENCRYPTION_KEY", KEY ",", NULL}, FOR_GDPR, 1},
		{{"KEY_ENCRYPTION_KEY", KEY ",", NULL}, FOR_CONTENT, 0},
		{{"KEY_ENCRYPTION_KEY", "short", "ENVIRONMENT", "development",
	          NULL},
	         FOR_AUTH,
	         1},
		{{"CORS_ORIGINS", "*", NULL}, FOR_ALL, 2},
		{{"CORS_ORIGINS", "https://a.example, *", NULL},
	         FOR_GATEWAY,
	         1},
		{{"CORS_ORIGINS", "*", NULL}, FOR_GDPR, 0},
		{{"REDIS_URL", "redis://localhost", NULL}, FOR_GDPR, 0},
		{{"REDIS_URL", "http://localhost", NULL}, FOR_GDPR, 1},
		{{"REDIS_URL", "http://localhost", NULL}, FOR_GATEWAY, 0},
		{{"REDIS_URL", "rediss://localhost", "ENVIRONMENT",
	          "development", NULL},
	         FOR_CONTENT,
	         1},
		{{"CORS_ORIGINS", "*", "ENVIRONMENT", "development", NULL},
	         FOR_ALL,
	         0},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct settings conf = settings_with(cases[i].pairs);
		char *text = NULL;
		size_t n = 0;
		FILE *f = open_memstream(&text, &n);

		assert_non_null(f);
		assert_int_equal(wiring_rules(&conf, cases[i].who, f),
		                 cases[i].faults == 0);
		(void)fclose(f);
		assert_int_equal(lines(text), cases[i].faults);
		free(text);
		conf_fini(&conf);
	}
}

static void each_service_has_a_database_of_its_own(void **state)
{
	static const struct {
		const char *pairs[9];
		const char *want; /* of svc-gdpr */
	} cases[] = {
		{{"DATA_DIR", "/data", NULL},
	         "sqlite:////data/knowalledge-gdpr.db"},
		{{NULL}, "sqlite:///var/knowalledge-gdpr.db"},
		{{"DATABASE_URL", "sqlite:///x.db", NULL},
	         "sqlite:///x-gdpr.db"},
		{{"DATABASE_URL", "postgresql://h/d", NULL},
	         "postgresql://h/d"},
		{{"DATABASE_URL", "postgresql://h/d", "GDPR_DATABASE_URL",
	          "sqlite:///g.db", NULL},
	         "sqlite:///g-gdpr.db"},
		{{"AUTH_DATABASE_URL", "sqlite:///a.db", NULL},
	         "sqlite:///var/knowalledge-gdpr.db"},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct settings conf = settings_with(cases[i].pairs);
		AUTO_BUF url = {0};

		assert_true(wiring_db_url(&conf, PEER_GDPR, &url));
		assert_true(str_eq(buf_view(&url), str_from(cases[i].want)));
		conf_fini(&conf);
	}
}

static struct str path_of(char *out, size_t max, const char *name)
{
	return (struct str){out,
	                    (size_t)snprintf(out, max, "%s/%s", dir, name)};
}

static void folders_are_made_for_the_owner_alone(void **state)
{
	char z[200], file[200];
	struct stat st;
	FILE *sink = fopen("/dev/null", "we"), *f;
	struct str path = path_of(z, sizeof(z), "a/b/c");

	(void)state;
	assert_non_null(sink);
	assert_true(wiring_folder(path, sink));
	assert_true(wiring_folder(path, sink)); /* there already */
	assert_int_equal(stat(z, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	(void)path_of(file, sizeof(file), "file");
	f = fopen(file, "we");
	assert_non_null(f);
	(void)fclose(f);
	assert_false(wiring_folder(str_from(file), sink));
	assert_false(wiring_folder(path_of(z, sizeof(z), "file/x"), sink));
	assert_false(wiring_folder(STR(""), sink));
	(void)fclose(sink);
}

static void the_folder_of_a_socket_is_made(void **state)
{
	char url[200], z[200];
	const char *pairs[] = {"BUS_AUTH", url, NULL};
	struct settings conf;
	struct wiring w;
	struct stat st;

	(void)state;
	(void)snprintf(url, sizeof(url), "ipc://%s/run/deep/auth.sock", dir);
	conf = settings_with(pairs);
	assert_true(wiring_init(&w, &conf, false, stderr));
	assert_true(wiring_prepare(&w, PEER_AUTH, stderr));
	(void)path_of(z, sizeof(z), "run/deep");
	assert_int_equal(stat(z, &st), 0);
	conf_fini(&conf);
}

/* Whether another process gets the lock while this one has it. */
static bool other_gets_it(const struct settings *conf, unsigned who,
                          const char *program)
{
	FILE *sink = fopen("/dev/null", "we");
	int status = 0;
	pid_t pid;

	assert_non_null(sink);
	pid = fork();
	if (pid == 0)
		_exit(wiring_lock(conf, who, program, sink) ? 0 : 1);
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	(void)fclose(sink);
	return status == 0;
}

static void a_database_file_is_opened_by_one_process(void **state)
{
	char z[200];
	const char *pairs[] = {"DATA_DIR", z, NULL};
	const char *postgres[] = {"DATA_DIR", z, "DATABASE_URL",
	                          "postgresql://h/d", NULL};
	struct settings conf;

	(void)state;
	(void)path_of(z, sizeof(z), "shared");
	conf = settings_with(pairs);
	assert_true(wiring_lock(&conf, FOR_AUTH, "kae-auth", stderr));
	assert_false(other_gets_it(&conf, FOR_AUTH, "kae-auth"));
	assert_false(other_gets_it(&conf, FOR_ALL, "knowalledge"));
	assert_true(other_gets_it(&conf, FOR_GDPR, "kae-gdpr"));
	conf_fini(&conf);
	conf = settings_with(postgres);
	assert_true(other_gets_it(&conf, FOR_AUTH, "kae-auth"));
	conf_fini(&conf);
}

static void one_process_holds_every_folder_once(void **state)
{
	char z[200], other[220];
	const char *pairs[] = {"DATA_DIR", z, "GDPR_DATABASE_URL", other, NULL};
	struct settings conf;

	(void)state;
	(void)path_of(z, sizeof(z), "whole");
	(void)snprintf(other, sizeof(other), "sqlite:///%s/else/g.db", dir);
	conf = settings_with(pairs);
	assert_true(wiring_lock(&conf, FOR_ALL, "knowalledge", stderr));
	assert_false(other_gets_it(&conf, FOR_GDPR, "kae-gdpr"));
	assert_false(other_gets_it(&conf, FOR_CONTENT, "kae-content"));
	conf_fini(&conf);
}

static void every_allocation_may_fail(void **state)
{
	struct settings conf = settings_with(NULL);
	unsigned n = 1;

	(void)state;
	for (;; n++) {
		AUTO_BUF url = {0};
		bool ok;

		alloc_fault_arm(n);
		ok = wiring_db_url(&conf, PEER_AUTH, &url);
		if (!alloc_fault_disarm()) {
			assert_true(ok);
			break;
		}
		assert_false(ok);
	}
	assert_true(n > 1);
	conf_fini(&conf);
}

static int make_dir(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

/* rm -r, without a shell's rules for names. */
static int remove_dir(void **state)
{
	int status = 0;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		(void)execl("/bin/rm", "rm", "-rf", "--", dir, (char *)NULL);
		_exit(1);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid ? status : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			links_without_a_key_are_refused_outside_development),
		cmocka_unit_test(a_service_listens_on_the_first_of_its_urls),
		cmocka_unit_test(
			in_one_process_services_are_inproc_unless_said),
		cmocka_unit_test(settings_are_checked_together_too),
		cmocka_unit_test(each_service_has_a_database_of_its_own),
		cmocka_unit_test(folders_are_made_for_the_owner_alone),
		cmocka_unit_test(the_folder_of_a_socket_is_made),
		cmocka_unit_test(a_database_file_is_opened_by_one_process),
		cmocka_unit_test(one_process_holds_every_folder_once),
		cmocka_unit_test(every_allocation_may_fail),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
