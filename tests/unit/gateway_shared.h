/*
 * gateway_shared - one gateway for all tests of a program that only ask it.
 *
 * Header only: each unit test is one program.
 */
#ifndef TESTS_UNIT_GATEWAY_SHARED_H
#define TESTS_UNIT_GATEWAY_SHARED_H

#include "tests/unit/gateway_fixture.h"

/* The beginning of a head. */
#define LOGIN "POST /api/auth/login HTTP/1.1\r\n" H

static struct stack *st;

static int start_shared(void **state)
{
	(void)state;
	quiet();
	st = stack_start(NULL, 0);
	return 0;
}

static int stop_shared(void **state)
{
	(void)state;
	stack_stop(st);
	return 0;
}

#endif
