/*
 * fuzz_forwarded - whatever stands in the headers, the client is the peer or an
 * address that was named; of a peer that we do not trust it is the peer; and
 * what a client puts to the left of what a proxy adds changes nothing, unless
 * a quote that it leaves open makes the proxy's own address stand.  Nor does it
 * make HTTPS of what the proxy says came in clear.
 */
#include "gateway/forwarded.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct addr at(const char *text)
{
	struct addr a = {{0}};

	if (!addr_parse(str_from(text), &a))
		abort();
	return a;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *why = NULL;
	AUTO(proxies) p = proxies_new(STR("10.0.0.0/8"), &why);
	struct str all = {(const char *)data, size};
	const struct addr trusted = at("10.0.0.1"), other = at("203.0.113.9");
	struct forwarded_lines f = {.n = 0}, x = {.n = 0}, none = {.n = 0};
	struct forwarded_lines proto;
	const struct addr real = at("198.51.100.7");
	char text[ADDR_TEXT_MAX];
	struct addr got, again;

	if (!p || size > 16384)
		return 0;
	while (all.n) {
		struct str line = str_cut(&all, '\n');

		forwarded_add(line.n & 1 ? &f : &x, line);
	}
	got = forwarded_client(p, &trusted, &f, &x);
	if (!addr_parse(addr_text(&got, text), &again))
		abort();
	assert(addr_eq(&got, &again));
	got = forwarded_client(p, &other, &f, &x);
	assert(addr_eq(&got, &other));
	forwarded_add(&x, STR("198.51.100.7"));
	got = forwarded_client(p, &trusted, &none, &x);
	assert(addr_eq(&got, &real));
	assert(!forwarded_https(p, &other, &f, &x, &f));
	proto = f;
	forwarded_add(&proto, STR("http"));
	assert(!forwarded_https(p, &trusted, &none, &x, &proto));
	forwarded_add(&f, STR("for=198.51.100.7"));
	got = forwarded_client(p, &trusted, &f, &none);
	assert(addr_eq(&got, &real));
	got = forwarded_client(p, &trusted, &f, &x);
	assert(addr_eq(&got, &real));
	return 0;
}
