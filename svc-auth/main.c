#include "svc-auth/service.h"

int main(int argc, char **argv)
{
	return service_main(&auth_service, argc, argv);
}
