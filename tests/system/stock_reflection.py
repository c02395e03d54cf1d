"""stock_reflection.py ADDRESS - grpcio-reflection's own client, which has none of our .proto files: prints the services, the model's name
as massv.v1.Control tells it, and how the versions and odd questions are answered."""
import sys

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

channel = grpc.insecure_channel(sys.argv[1])
database = ProtoReflectionDescriptorDatabase(channel)
pool = DescriptorPool(database)
print(*sorted(database.get_services()))

method = pool.FindServiceByName("massv.v1.Control").FindMethodByName("GetModelInfo")
call = channel.unary_unary("/massv.v1.Control/GetModelInfo", request_serializer=lambda m: m.SerializeToString(),
                           response_deserializer=GetMessageClass(method.output_type).FromString)
print(call(GetMessageClass(method.input_type)(), timeout=20).model)

codes = {code.value[0]: code.name for code in grpc.StatusCode}
Request = reflection_pb2.ServerReflectionRequest
questions = [Request(list_services=""), Request(file_by_filename="grpc/health/v1/health.proto"), Request(file_containing_symbol="no.such"),
             Request(all_extension_numbers_of_type="massv.v1.Turn")]
for version in ("v1", "v1alpha"):
    info = channel.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
                                 request_serializer=Request.SerializeToString,
                                 response_deserializer=reflection_pb2.ServerReflectionResponse.FromString)
    answers = list(info(iter(questions), timeout=20))
    print(version, len(answers[0].list_services_response.service), len(answers[1].file_descriptor_response.file_descriptor_proto),
          *[codes[answer.error_response.error_code] for answer in answers[2:]])
