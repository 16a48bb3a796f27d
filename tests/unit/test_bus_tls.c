/* bus - tls+tcp:// links: who has no certificate for it is not talked to. */
#include "tests/unit/bus_fixture.h"

#include "common/bus/tls.h"
#include "tests/alloc_fault.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

/* --- certificates made for the run ------------------------------------------------ */

struct made {
	X509 *cert;
	EVP_PKEY *key;
	char cert_file[64], key_file[64];
};

static char folder[] = "/tmp/kae-tls-XXXXXX";

static void write_files(struct made *m, const char *name)
{
	FILE *f;

	(void)snprintf(m->cert_file, sizeof(m->cert_file), "%s/%s.crt", folder,
	               name);
	(void)snprintf(m->key_file, sizeof(m->key_file), "%s/%s.key", folder,
	               name);
	f = fopen(m->cert_file, "we");
	assert_non_null(f);
	assert_int_equal(PEM_write_X509(f, m->cert), 1);
	(void)fclose(f);
	f = fopen(m->key_file, "we");
	assert_non_null(f);
	assert_int_equal(
		PEM_write_PrivateKey(f, m->key, NULL, NULL, 0, NULL, NULL), 1);
	(void)fclose(f);
}

/* Signed by ca, or by itself; in force from and until so many seconds. */
static struct made make(const char *file, const char *name,
                        const struct made *ca, long from_s, long until_s)
{
	struct made m = {.cert = X509_new(), .key = EVP_EC_gen("P-256")};
	X509_NAME *subject = X509_get_subject_name(m.cert);
	static long serial = 1;

	assert_non_null(m.key);
	assert_int_equal(X509_set_version(m.cert, 2), 1);
	(void)ASN1_INTEGER_set(X509_get_serialNumber(m.cert), serial++);
	(void)X509_gmtime_adj(X509_getm_notBefore(m.cert), from_s);
	(void)X509_gmtime_adj(X509_getm_notAfter(m.cert), until_s);
	(void)X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
	                                 (const unsigned char *)name, -1, -1,
	                                 0);
	(void)X509_set_issuer_name(m.cert, ca ? X509_get_subject_name(ca->cert)
	                                      : subject);
	(void)X509_set_pubkey(m.cert, m.key);
	if (!ca) {
		BASIC_CONSTRAINTS bc = {.ca = 0xff};

		(void)X509_add1_ext_i2d(m.cert, NID_basic_constraints, &bc, 1,
		                        X509V3_ADD_DEFAULT);
	}
	assert_true(X509_sign(m.cert, ca ? ca->key : m.key, EVP_sha256()) > 0);
	write_files(&m, file);
	return m;
}

enum who { CA, AUTH, GATEWAY, GDPR, OLD, OTHER_CA, STRANGER, WHO };
static struct made made[WHO];

static int make_all(void **state)
{
	enum { HOUR = 3600 };

	(void)state;
	assert_non_null(mkdtemp(folder));
	made[CA] = make("ca", "our ca", NULL, -HOUR, HOUR);
	made[AUTH] = make("auth", "auth", &made[CA], -HOUR, HOUR);
	made[GATEWAY] = make("gateway", "gateway", &made[CA], -HOUR, HOUR);
	made[GDPR] = make("gdpr", "gdpr", &made[CA], -HOUR, HOUR);
	made[OLD] = make("old", "gateway", &made[CA], -2 * HOUR, -HOUR);
	made[OTHER_CA] = make("other", "their ca", NULL, -HOUR, HOUR);
	made[STRANGER] =
		make("stranger", "gateway", &made[OTHER_CA], -HOUR, HOUR);
	return 0;
}

static int remove_all(void **state)
{
	(void)state;
	for (size_t i = 0; i < WHO; i++) {
		(void)unlink(made[i].cert_file);
		(void)unlink(made[i].key_file);
		X509_free(made[i].cert);
		EVP_PKEY_free(made[i].key);
	}
	return rmdir(folder);
}

static struct bus_keys papers(enum who who, enum who ca)
{
	return (struct bus_keys){.tls = {.cert = made[who].cert_file,
	                                 .key = made[who].key_file,
	                                 .ca = made[ca].cert_file}};
}

static struct service *serve(enum who who, enum who ca)
{
	struct bus_keys keys = papers(who, ca);
	struct service *sv = service_try("tls+tcp://127.0.0.1:0", 0, &keys);

	assert_non_null(sv);
	(void)snprintf(sv->url, sizeof(sv->url), "tls+tcp://127.0.0.1:%u",
	               bus_server_port(sv->server));
	return sv;
}

/* --- tests -------------------------------------------------------------------------- */

static void both_ends_with_papers_talk(void **state)
{
	struct bus_keys keys = papers(GATEWAY, CA);
	struct service *sv = serve(AUTH, CA);
	struct answer big;
	struct loop l;

	(void)state;
	assert_true(loop_init(&l, &keys, 0));
	loop_to(&l, sv);
	LOOP_UNTIL(&l, bus_client_up(l.client, PEER_AUTH) == 1);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(ask(&l, "e").e, OK);
	big = ask(&l, "b1000000");
	assert_int_equal(big.e, OK);
	assert_int_equal(big.n, 1000000);
	/* A name is resolved, and the certificate still has to say "auth". */
	(void)snprintf(sv->url, sizeof(sv->url), "tls+tcp://localhost:%u",
	               bus_server_port(sv->server));
	loop_to(&l, sv);
	LOOP_UNTIL(&l, bus_client_up(l.client, PEER_AUTH) == 2);
	loop_fini(&l);
	service_end(sv);
}

static void wrong_papers_lead_nowhere(void **state)
{
	static const struct {
		enum who server, client, client_ca;
	} cases[] = {
		{AUTH, OLD, CA},      /* expired */
		{AUTH, STRANGER, CA}, /* not signed by the service's CA */
		{STRANGER, GATEWAY, CA},
		{GDPR, GATEWAY, CA}, /* good, but it is not auth */
		{AUTH, GATEWAY, OTHER_CA},
	};

	(void)state;
	for (size_t i = 0; i < COUNTOF(cases); i++) {
		struct bus_keys keys =
			papers(cases[i].client, cases[i].client_ca);
		struct service *sv = serve(cases[i].server, CA);
		struct bus_server_stats st;
		struct loop l;

		assert_true(loop_init(&l, &keys, 0));
		loop_to(&l, sv);
		for (uint64_t end = mono_ms() + 300; mono_ms() < end;)
			loop_turn(&l, 10);
		if (bus_client_up(l.client, PEER_AUTH) != 0)
			fail_msg("case %zu was believed", i);
		bus_server_stats(sv->server, &st);
		assert_int_equal(st.frames_in, 0);
		assert_int_equal(atomic_load(&sv->begun), 0);
		loop_fini(&l);
		service_end(sv);
	}
}

static void plain_tcp_gets_nothing_out_of_a_tls_port(void **state)
{
	struct bus_keys none = {0};
	struct service *sv = serve(AUTH, CA);
	struct loop l;

	(void)state;
	assert_true(loop_init(&l, &none, 0));
	(void)snprintf(sv->url, sizeof(sv->url), "tcp://127.0.0.1:%u",
	               bus_server_port(sv->server));
	loop_to(&l, sv);
	for (uint64_t end = mono_ms() + 200; mono_ms() < end;)
		loop_turn(&l, 10);
	assert_int_equal(bus_client_up(l.client, PEER_AUTH), 0);
	loop_fini(&l);
	service_end(sv);
}

static void files_that_are_none_are_told_and_refused(void **state)
{
	const struct bus_tls bad[] = {
		{NULL, NULL, NULL},
		{made[AUTH].cert_file, made[AUTH].key_file, NULL},
		{made[AUTH].cert_file, NULL, made[CA].cert_file},
		{made[AUTH].cert_file, made[AUTH].key_file, "/nonexistent"},
		{made[AUTH].cert_file, made[AUTH].key_file, "/dev/null"},
		{made[AUTH].cert_file, made[AUTH].key_file, "/dev/zero"},
		{made[AUTH].cert_file, made[AUTH].cert_file,
	         made[CA].cert_file},
		{made[AUTH].key_file, made[AUTH].key_file, made[CA].cert_file},
		{made[AUTH].cert_file, made[AUTH].key_file, folder},
	};
	int threshold = atomic_exchange(&log_threshold, -1);

	(void)state;
	for (size_t i = 0; i < COUNTOF(bad); i++) {
		struct bus_keys keys = {.tls = bad[i]};
		struct bus_server_conf conf = {.self = PEER_AUTH,
		                               .keys = &keys,
		                               .on_item = service_item};
		AUTO(bus_server) s = bus_server_new(&conf);
		struct loop l;

		if (bus_server_listen(s, STR("tls+tcp://127.0.0.1:0")) !=
		    ERR_INVALID)
			fail_msg("the server took case %zu", i);
		assert_true(loop_init(&l, &keys, 0));
		if (bus_client_add(l.client, PEER_AUTH,
		                   STR("tls+tcp://127.0.0.1:1")) != ERR_INVALID)
			fail_msg("the client took case %zu", i);
		loop_fini(&l);
	}
	atomic_store(&log_threshold, threshold);
}

static void each_failing_allocation_is_an_error(void **state)
{
	struct bus_keys keys = papers(AUTH, CA);
	int threshold = atomic_exchange(&log_threshold, -1);
	bool failed = true;

	(void)state;
	for (unsigned n = 1; failed; n++) {
		AUTO(nng_tls_config) c = NULL;
		enum err e;

		alloc_fault_arm(n);
		e = tls_config_new(&keys.tls, "auth", &c);
		failed = alloc_fault_disarm();
		assert_true(n < 1000);
		/* Our own are told apart; of the library's, some are only
		 * "cannot be used". */
		if (e)
			assert_true(failed &&
			            (e == ERR_NOMEM || e == ERR_INVALID));
		assert_int_equal(c == NULL, e != OK);
	}
	atomic_store(&log_threshold, threshold);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_ends_with_papers_talk),
		cmocka_unit_test(wrong_papers_lead_nowhere),
		cmocka_unit_test(plain_tcp_gets_nothing_out_of_a_tls_port),
		cmocka_unit_test(files_that_are_none_are_told_and_refused),
		cmocka_unit_test(each_failing_allocation_is_an_error),
	};

	bus_global_init();
	atomic_store(&log_threshold, LOG_ERROR);
	return cmocka_run_group_tests(tests, make_all, remove_all);
}
