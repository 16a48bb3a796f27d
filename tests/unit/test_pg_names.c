/* Host names by a deadline: getaddrinfo() here is ours, so that it can hang. */
#include "common/base/clock.h"
#include "common/db/postgres.h"
#include "tests/alloc_fault.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <cmocka.h>

/* --- a name server that a test holds -------------------------------------------- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool silent;
static unsigned asked, answered;

static void be_silent(bool on)
{
	pthread_mutex_lock(&lock);
	silent = on;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static void wait_for(const unsigned *n, unsigned want)
{
	pthread_mutex_lock(&lock);
	while (*n < want)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
}

static unsigned count(const unsigned *n)
{
	unsigned now;

	pthread_mutex_lock(&lock);
	now = *n;
	pthread_mutex_unlock(&lock);
	return now;
}

static void ask_the_server(void)
{
	pthread_mutex_lock(&lock);
	asked++;
	pthread_cond_broadcast(&changed);
	while (silent)
		pthread_cond_wait(&changed, &lock);
	answered++;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

/* One block: the entry and its address. */
struct entry {
	struct addrinfo info;
	struct sockaddr_in address;
};

static struct addrinfo *entry(const char *text, struct addrinfo *next)
{
	struct entry *e = calloc(1, sizeof(*e));

	if (!e)
		abort();
	e->address.sin_family = AF_INET;
	if (inet_pton(AF_INET, text, &e->address.sin_addr) != 1)
		abort();
	e->info.ai_family = AF_INET;
	e->info.ai_addr = (struct sockaddr *)&e->address;
	e->info.ai_addrlen = sizeof(e->address);
	e->info.ai_next = next;
	return &e->info;
}

/*
 * "10.0.0.1" is an address; "many" has more than there is room for.  libc's
 * own names of the parameters are reserved.
 */
/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name) */
int getaddrinfo(const char *restrict host, const char *restrict service,
                const struct addrinfo *restrict hints,
                struct addrinfo **restrict out)
{
	(void)service;
	*out = NULL;
	if (hints->ai_flags & AI_NUMERICHOST) {
		struct in_addr a;

		if (inet_pton(AF_INET, host, &a) != 1)
			return EAI_NONAME;
		*out = entry(host, NULL);
		return 0;
	}
	ask_the_server();
	if (strcmp(host, "none") == 0)
		return EAI_NONAME;
	for (int i = strcmp(host, "many") == 0 ? 20 : 2; i > 0; i--)
		*out = entry("10.1.1.1", *out);
	return 0;
}

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): too */
void freeaddrinfo(struct addrinfo *list)
{
	while (list) {
		struct addrinfo *next = list->ai_next;

		free(list);
		list = next;
	}
}

static int setup(void **state)
{
	silent = false;
	asked = answered = 0;
	*state = pg_names_new();
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	pg_names_free(*state);
	return 0;
}

/* --- claims ---------------------------------------------------------------------- */

static void an_address_needs_no_name_server(void **state)
{
	struct pg_addrs found;

	be_silent(true);
	assert_int_equal(
		pg_resolve(*state, "10.0.0.1", mono_ms() + 5000, &found), OK);
	assert_int_equal(found.n, 1);
	assert_string_equal(found.at[0], "10.0.0.1");
	assert_int_equal(count(&asked), 0);
}

static void a_name_has_its_addresses_as_many_as_there_is_room_for(void **state)
{
	static const struct {
		const char *host;
		enum err want;
		unsigned n;
	} cases[] = {
		{"two", OK, 2},
		{"many", OK, PG_ADDRS_MAX},
		{"none", ERR_NOT_FOUND, 0},
	};

	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct pg_addrs found;

		assert_int_equal(pg_resolve(*state, cases[i].host,
		                            mono_ms() + 5000, &found),
		                 cases[i].want);
		if (cases[i].want)
			continue;
		assert_int_equal(found.n, cases[i].n);
		assert_string_equal(found.at[0], "10.1.1.1");
	}
}

static void a_name_that_cannot_be_one_is_not_asked_for(void **state)
{
	char host[300];
	struct pg_addrs found;

	memset(host, 'a', sizeof(host) - 1);
	host[sizeof(host) - 1] = '\0';
	assert_int_equal(pg_resolve(*state, host, mono_ms() + 5000, &found),
	                 ERR_NOT_FOUND);
	assert_int_equal(count(&asked), 0);
}

static void a_silent_name_server_is_left_at_the_deadline(void **state)
{
	uint64_t before = mono_ms();
	struct pg_addrs found;

	be_silent(true);
	assert_int_equal(pg_resolve(*state, "two", before + 50, &found),
	                 ERR_TIMEOUT);
	assert_true(mono_ms() - before >= 50);
	assert_true(mono_ms() - before < 5000);
	/* Who comes next waits for the same look-up. */
	assert_int_equal(pg_resolve(*state, "two", mono_ms() + 10, &found),
	                 ERR_TIMEOUT);
	wait_for(&asked, 1);
	assert_int_equal(count(&asked), 1);
	be_silent(false);
	assert_int_equal(pg_resolve(*state, "two", mono_ms() + 5000, &found),
	                 OK);
	assert_int_equal(found.n, 2);
}

static void names_may_be_freed_while_one_is_looked_up(void **state)
{
	struct pg_addrs found;

	be_silent(true);
	assert_int_equal(pg_resolve(*state, "two", mono_ms() + 10, &found),
	                 ERR_TIMEOUT);
	pg_names_free(*state);
	*state = NULL;
	be_silent(false);
	wait_for(&answered, 1);
}

static _Atomic unsigned good;

static void *ask_for_two(void *arg)
{
	struct pg_addrs found;

	if (pg_resolve(arg, "two", mono_ms() + 20000, &found) == OK &&
	    found.n == 2)
		atomic_fetch_add(&good, 1);
	return NULL;
}

static void many_who_want_a_name_all_get_it(void **state)
{
	pthread_t t[8];

	atomic_store(&good, 0);
	be_silent(true);
	for (size_t i = 0; i < COUNTOF(t); i++)
		assert_int_equal(
			pthread_create(&t[i], NULL, ask_for_two, *state), 0);
	wait_for(&asked, 1);
	be_silent(false);
	for (size_t i = 0; i < COUNTOF(t); i++)
		assert_int_equal(pthread_join(t[i], NULL), 0);
	assert_int_equal(good, COUNTOF(t));
}

static void without_memory_it_is_an_error(void **state)
{
	bool failed = true;

	(void)state;
	be_silent(true); /* nothing but what is asked for allocates */
	for (unsigned n = 1; failed; n++) {
		struct pg_addrs found;
		struct pg_names *ns;
		enum err e = ERR_NOMEM;

		alloc_fault_arm(n);
		ns = pg_names_new();
		if (ns)
			e = pg_resolve(ns, "two", mono_ms() + 5, &found);
		failed = alloc_fault_disarm();
		assert_int_equal(e, failed ? ERR_NOMEM : ERR_TIMEOUT);
		pg_names_free(ns);
		assert_true(n < 100);
	}
	wait_for(&asked, 1);
	be_silent(false);
	wait_for(&answered, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(an_address_needs_no_name_server),
		T(a_name_has_its_addresses_as_many_as_there_is_room_for),
		T(a_name_that_cannot_be_one_is_not_asked_for),
		T(a_silent_name_server_is_left_at_the_deadline),
		T(names_may_be_freed_while_one_is_looked_up),
		T(many_who_want_a_name_all_get_it),
		T(without_memory_it_is_an_error),
	};

	return cmocka_run_group_tests_name("pg_names", tests, NULL, NULL);
}
