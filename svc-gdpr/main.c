#include "svc-gdpr/service.h"

int main(int argc, char **argv)
{
	return service_main(&gdpr_service, argc, argv);
}
