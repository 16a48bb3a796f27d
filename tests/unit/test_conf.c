#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/base/conf.h"
#include "common/base/log.h"
#include "tests/alloc_fault.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Only these are in the environment of a test. */
static int clean(void **state)
{
	(void)state;
	return clearenv();
}

struct loaded {
	struct settings s;
	char *told; /* the complaints */
	size_t told_n;
	bool ok;
};

static void load(struct loaded *l, unsigned who)
{
	FILE *f = open_memstream(&l->told, &l->told_n);

	assert_non_null(f);
	l->ok = conf_load(&l->s, who, f);
	(void)fclose(f);
}

static void loaded_auto(struct loaded *l)
{
	conf_fini(&l->s);
	free(l->told);
}

#define LOADED __attribute__((cleanup(loaded_auto))) struct loaded

static void set(const char *name, const char *value)
{
	assert_int_equal(setenv(name, value, 1), 0);
}

/* A file with these bytes; its path, which the caller unlinks. */
static void write_file(char path[32], struct str bytes)
{
	int fd;

	(void)snprintf(path, 32, "/tmp/kae-conf-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes.p, bytes.n), (ssize_t)bytes.n);
	(void)close(fd);
}

static void an_empty_environment_is_production_with_defaults(void **state)
{
	LOADED l = {.ok = false};

	(void)state;
	load(&l, FOR_ALL);
	assert_true(l.ok);
	assert_int_equal(l.told_n, 0);
	assert_int_equal(l.s.env, ENV_PRODUCTION);
	assert_int_equal(l.s.port, 5000);
	assert_int_equal(l.s.keep_alive_s, 5);
	assert_int_equal(l.s.connection_total_s, 120);
	assert_int_equal(l.s.grace_s, 30);
	assert_true(l.s.cors_enabled);
	assert_int_equal(l.s.db_pool_size, 10);
	assert_true(str_eq(l.s.bind, STR("127.0.0.1")));
	assert_int_equal(l.s.bus_key.n, 0);
}

static void variables_are_read_and_checked(void **state)
{
	LOADED l = {.ok = false};

	(void)state;
	set("ENVIRONMENT", "testing");
	set("PORT", "0");
	set("CORS_ENABLED", "off");
	set("LOG_LEVEL", "warn");
	set("CORS_ORIGINS", "https://a.example,https://b.example");
	load(&l, FOR_ALL);
	assert_true(l.ok);
	assert_int_equal(l.s.env, ENV_TESTING);
	assert_string_equal(env_name(l.s.env), "testing");
	assert_int_equal(l.s.port, 0);
	assert_false(l.s.cors_enabled);
	assert_int_equal(l.s.cors_origins.n, 35);
}

static void statements_are_echoed_in_development_unless_said_otherwise(
	void **state)
{
	static const struct {
		const char *environment, *echo;
		bool want;
	} cases[] = {
		{NULL, NULL, false},          {"production", NULL, false},
		{"staging", NULL, false},     {"testing", NULL, false},
		{"development", NULL, true},  {"development", "false", false},
		{"production", "true", true},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		LOADED l = {.ok = false};

		if (cases[i].environment)
			set("ENVIRONMENT", cases[i].environment);
		if (cases[i].echo)
			set("DB_ECHO", cases[i].echo);
		load(&l, FOR_CONTENT);
		assert_true(l.ok);
		assert_int_equal(l.s.db_echo, cases[i].want);
		(void)unsetenv("ENVIRONMENT");
		(void)unsetenv("DB_ECHO");
	}
}

static void all_faults_are_told_at_once(void **state)
{
	LOADED l = {.ok = true};
	size_t lines = 0;

	(void)state;
	set("ENVIRONMENT", "prod");
	set("PORT", "65536");
	set("ADMIN_PORT", "-1");
	set("KEEP_ALIVE_S", "5s");
	set("CORS_ENABLED", "maybe");
	set("LOG_LEVEL", "loud");
	set("DATA_DIR", "");
	set("BUS_KEY_FILE", "/nonexistent/key");
	load(&l, FOR_ALL);
	assert_false(l.ok);
	for (const char *p = l.told; (p = strchr(p, '\n')) != NULL; p++)
		lines++;
	assert_int_equal(lines, 8);
	assert_non_null(strstr(l.told, "ENVIRONMENT: must be development"));
	assert_non_null(strstr(l.told, "PORT: must be a whole number from 0 "
	                               "to 65535\n"));
	assert_non_null(strstr(l.told, "KEEP_ALIVE_S: "));
	assert_non_null(strstr(l.told, "CORS_ENABLED: must be true or false"));
	assert_non_null(strstr(l.told, "LOG_LEVEL: "));
	assert_non_null(strstr(l.told, "DATA_DIR: must have 1 to 512"));
	assert_non_null(strstr(l.told, "BUS_KEY_FILE: cannot read "
	                               "/nonexistent/key"));
}

static void a_setting_of_another_program_is_not_read(void **state)
{
	LOADED l = {.ok = false};

	(void)state;
	set("PORT", "no number");
	load(&l, FOR_AUTH);
	assert_true(l.ok);
	assert_int_equal(l.s.port, 5000);
}

static void a_secret_file_loses_one_newline_and_no_more(void **state)
{
	static const struct {
		struct str file;
		const char *want;
	} cases[] = {
		{STR("secret"), "secret"},
		{STR("secret\n"), "secret"},
		{STR("secret\r\n"), "secret"},
		{STR("secret\n\n"), "secret\n"},
		{STR(" secret "), " secret "},
		{STR("\n"), ""},
		{STR(""), ""},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		LOADED l = {.ok = false};
		char path[32];

		write_file(path, cases[i].file);
		set("BUS_KEY_FILE", path);
		load(&l, FOR_ALL);
		(void)unlink(path);
		assert_true(l.ok);
		assert_true(str_eq(l.s.bus_key, str_from(cases[i].want)));
	}
}

static void the_variable_wins_over_the_file(void **state)
{
	LOADED l = {.ok = false};

	(void)state;
	set("BUS_KEY", "from the variable");
	set("BUS_KEY_FILE", "/nonexistent/key");
	load(&l, FOR_ALL);
	assert_true(l.ok);
	assert_true(str_eq(l.s.bus_key, STR("from the variable")));
}

static void a_secret_file_that_is_no_text_file_is_an_error(void **state)
{
	char big[5000], path[32];

	(void)state;
	memset(big, 'x', sizeof(big));
	write_file(path, (struct str){big, sizeof(big)});
	for (int i = 0; i < 2; i++) {
		LOADED l = {.ok = true};

		set("BUS_KEY_FILE", i ? "/tmp" : path); /* a folder */
		load(&l, FOR_ALL);
		assert_false(l.ok);
		assert_non_null(strstr(l.told, "BUS_KEY_FILE: "));
	}
	(void)unlink(path);
}

static void only_secret_and_live_ones_may_come_from_files(void **state)
{
	LOADED l = {.ok = false};
	char path[32];

	(void)state;
	write_file(path, STR("1234"));
	set("PORT_FILE", path);
	load(&l, FOR_ALL);
	(void)unlink(path);
	assert_true(l.ok);
	assert_int_equal(l.s.port, 5000);
}

static void a_live_one_is_taken_from_its_file_again(void **state)
{
	LOADED l = {.ok = false};
	LOADED again = {.ok = false};
	char path[32];
	FILE *f;

	(void)state;
	write_file(path, STR("https://a.example\n"));
	set("CORS_ORIGINS_FILE", path);
	load(&l, FOR_GATEWAY);
	assert_true(l.ok);
	assert_true(str_eq(l.s.cors_origins, STR("https://a.example")));
	f = fopen(path, "we");
	assert_non_null(f);
	(void)fputs("https://b.example", f);
	(void)fclose(f);
	f = open_memstream(&again.told, &again.told_n);
	assert_non_null(f);
	assert_true(conf_reload(&again.s, FOR_GATEWAY, f));
	(void)unlink(path);
	conf_fini(&again.s);
	assert_false(conf_reload(&again.s, FOR_GATEWAY, f));
	(void)fclose(f);
	assert_non_null(strstr(again.told, "CORS_ORIGINS_FILE: cannot read "));
	assert_true(str_eq(l.s.cors_origins, STR("https://a.example")));
}

static void https_is_forced_where_it_can_be_known(void **state)
{
	static const struct {
		const char *cert, *proxies, *force;
		bool want;
	} cases[] = {
		{NULL, NULL, NULL, false},
		{"/c.pem", NULL, NULL, true},
		{NULL, "10.0.0.1", NULL, true},
		{"/c.pem", "10.0.0.1", NULL, true},
		{"/c.pem", "10.0.0.1", "false", false},
		{NULL, NULL, "true", true}, /* gateway_check() refuses it */
	};

	for (size_t i = 0; i < COUNTOF(cases); i++) {
		LOADED l = {.ok = false};

		(void)clean(state);
		if (cases[i].cert)
			set("SSL_CERTFILE", cases[i].cert);
		if (cases[i].proxies)
			set("TRUSTED_PROXIES", cases[i].proxies);
		if (cases[i].force)
			set("FORCE_HTTPS", cases[i].force);
		load(&l, FOR_GATEWAY);
		assert_true(l.ok);
		if (l.s.force_https != cases[i].want)
			fail_msg("case %zu", i);
	}
}

static void a_cheap_password_hash_is_for_testing_only(void **state)
{
	static const struct {
		const char *env, *each, *total;
		bool want;
	} cases[] = {
		{"production", "46", "46", true},
		{"production", "45", "46", false},
		{"development", "45", "46", false},
		{"staging", "1", "46", false},
		{"testing", "1", "1", true},
		{"testing", "2", "1", false},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		LOADED l = {0};

		set("ENVIRONMENT", cases[i].env);
		set("PASSWORD_HASH_MEMORY_MB", cases[i].each);
		set("PASSWORD_HASH_TOTAL_MB", cases[i].total);
		load(&l, FOR_AUTH);
		assert_int_equal(l.ok, cases[i].want);
		assert_int_equal(strstr(l.told, "PASSWORD_HASH_") != NULL,
		                 !cases[i].want);
	}
}

static void secrets_are_printed_as_stars(void **state)
{
	LOADED l = {.ok = false};
	char *text = NULL;
	size_t n = 0;
	FILE *f;

	(void)state;
	set("BUS_KEY", "planted-secret");
	set("ADMIN_API_KEY", "planted-secret");
	set("DATABASE_URL", "postgresql://u:planted-secret@h/d");
	load(&l, FOR_ALL);
	assert_true(l.ok);
	f = open_memstream(&text, &n);
	assert_non_null(f);
	conf_print(&l.s, FOR_ALL, f);
	(void)fclose(f);
	assert_null(strstr(text, "planted-secret"));
	assert_non_null(strstr(text, "BUS_KEY=***\n"));
	assert_non_null(strstr(text, "KEY_ENCRYPTION_KEY=\n"));
	assert_non_null(strstr(text, "PORT=5000\n"));
	free(text);
}

static void a_program_prints_its_own_settings_only(void **state)
{
	LOADED l = {.ok = false};
	char *text = NULL;
	size_t n = 0;
	FILE *f;

	(void)state;
	load(&l, FOR_GDPR);
	f = open_memstream(&text, &n);
	assert_non_null(f);
	conf_print(&l.s, FOR_GDPR, f);
	(void)fclose(f);
	assert_null(strstr(text, "\nPORT="));
	assert_non_null(strstr(text, "DB_POOL_SIZE=10\n"));
	free(text);
}

static void every_setting_is_documented(void **state)
{
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);

	(void)state;
	assert_non_null(f);
	conf_document(f);
	(void)fclose(f);
	assert_non_null(strstr(text, "| `PORT` |"));
	assert_non_null(strstr(text, "| `BUS_KEY` (secret) |"));
	assert_non_null(strstr(text, "| `WORDNET_DIR` |"));
	free(text);
}

/* Nothing is set in it: who copies it to .env has the defaults. */
static void the_example_names_every_setting_and_sets_none(void **state)
{
	static const char *const names[] = {
#define SETTING(who, flags, type, name, field, fallback, min, max, help) name,
#include "common/base/conf.def"
#undef SETTING
	};
	char *text = NULL, *line, *rest, want[80];
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);

	(void)state;
	assert_non_null(f);
	conf_env_example(f);
	(void)fclose(f);
	for (size_t i = 0; i < COUNTOF(names); i++) {
		(void)snprintf(want, sizeof(want), "\n#%s=", names[i]);
		assert_non_null(strstr(text, want));
	}
	assert_non_null(strstr(text, "\n#BUS_KEY_FILE="));
	assert_null(strstr(text, "\n#PORT_FILE="));
	for (rest = text; (line = strsep(&rest, "\n")) != NULL;)
		assert_true(line[0] == '#' || line[0] == '\0');
	free(text);
}

/* What log lines go where before the log is up: standard error. */
static void captured(struct loaded *l, struct buf *out)
{
	int kept = dup(STDERR_FILENO);
	int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	char part[4096];
	ssize_t n;

	assert_true(kept >= 0 && fd >= 0);
	assert_true(dup2(fd, STDERR_FILENO) >= 0);
	load(l, FOR_ALL);
	assert_true(dup2(kept, STDERR_FILENO) >= 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	while ((n = read(fd, part, sizeof(part))) > 0)
		buf_add(out, part, (size_t)n);
	buf_char(out, '\0');
	(void)close(fd);
	(void)close(kept);
}

static void names_of_the_old_system_and_misspelt_ones_are_told(void **state)
{
	LOADED l = {.ok = false};
	AUTO_BUF out = {0};

	(void)state;
	set("JWT_SECRET_KEY", "planted-secret");
	set("GUNICORN_WORKERS", "4");
	set("CORS_ORIGIN", "https://a.example");
	set("DATABSE_URL", "x");
	set("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt");
	captured(&l, &out);
	assert_true(l.ok);
	assert_non_null(strstr(out.p, "config.ignored"));
	assert_non_null(strstr(out.p, "JWT_SECRET_KEY"));
	assert_non_null(strstr(out.p, "GATEWAY_THREADS"));
	assert_non_null(strstr(out.p, "\"meant\":\"CORS_ORIGINS\""));
	assert_non_null(strstr(out.p, "\"meant\":\"DATABASE_URL\""));
	assert_null(strstr(out.p, "planted-secret"));
	assert_null(strstr(out.p, "SSL_CERT_FILE"));
}

/* Told as gone and read all the same: one of the two is a lie. */
static void what_is_gone_is_no_setting(void **state)
{
	static const char *const gone[] = {
#define GONE(name, successor) name,
#include "common/base/conf_gone.def"
#undef GONE
	};
	static const char *const ours[] = {
#define SETTING(who, flags, type, name, field, fallback, min, max, help) name,
#include "common/base/conf.def"
#undef SETTING
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(gone); i++) {
		for (size_t k = 0; k < COUNTOF(ours); k++)
			assert_string_not_equal(gone[i], ours[k]);
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(gone[i], gone[k]);
	}
}

static void without_memory_loading_fails_and_leaks_nothing(void **state)
{
	FILE *nowhere = fopen("/dev/null", "we");
	bool more = true;
	char path[32];

	(void)state;
	assert_non_null(nowhere);
	(void)setvbuf(nowhere, NULL, _IONBF, 0);
	write_file(path, STR("secret\n"));
	set("BUS_KEY_FILE", path);
	for (unsigned nth = 1; more; nth++) {
		struct settings s;
		bool ok;

		alloc_fault_arm(nth);
		ok = conf_load(&s, FOR_ALL, nowhere);
		more = alloc_fault_disarm();
		assert_int_equal(ok, !more);
		conf_fini(&s);
	}
	(void)unlink(path);
	(void)fclose(nowhere);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(
			an_empty_environment_is_production_with_defaults,
			clean),
		cmocka_unit_test_setup(variables_are_read_and_checked, clean),
		cmocka_unit_test_setup(
			statements_are_echoed_in_development_unless_said_otherwise,
			clean),
		cmocka_unit_test_setup(all_faults_are_told_at_once, clean),
		cmocka_unit_test_setup(a_setting_of_another_program_is_not_read,
	                               clean),
		cmocka_unit_test_setup(
			a_secret_file_loses_one_newline_and_no_more, clean),
		cmocka_unit_test_setup(the_variable_wins_over_the_file, clean),
		cmocka_unit_test_setup(
			a_secret_file_that_is_no_text_file_is_an_error, clean),
		cmocka_unit_test_setup(
			only_secret_and_live_ones_may_come_from_files, clean),
		cmocka_unit_test_setup(a_live_one_is_taken_from_its_file_again,
	                               clean),
		cmocka_unit_test_setup(https_is_forced_where_it_can_be_known,
	                               clean),
		cmocka_unit_test_setup(
			a_cheap_password_hash_is_for_testing_only, clean),
		cmocka_unit_test_setup(secrets_are_printed_as_stars, clean),
		cmocka_unit_test_setup(a_program_prints_its_own_settings_only,
	                               clean),
		cmocka_unit_test_setup(every_setting_is_documented, clean),
		cmocka_unit_test_setup(
			the_example_names_every_setting_and_sets_none, clean),
		cmocka_unit_test_setup(
			names_of_the_old_system_and_misspelt_ones_are_told,
			clean),
		cmocka_unit_test(what_is_gone_is_no_setting),
		cmocka_unit_test_setup(
			without_memory_loading_fails_and_leaks_nothing, clean),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
