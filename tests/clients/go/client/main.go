// client VERB ADDRESS [ARGUMENT] makes one call of the published protos and prints what came of it
// as key=value lines; tests/clients/cases.sh says which verbs there are and judges the lines.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	_ "google.golang.org/grpc/health" // lets a service config ask for health checks
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	analyzer "prism.test/clients/prism/analyzer/v1"
	router "prism.test/clients/prism/router/v1"
)

const text = "Passwords are stored in plain text. The administration port has no authentication. " +
	"Backups are not encrypted, and everybody who works here can read them."

func main() {
	verbs := map[string]func(context.Context, *grpc.ClientConn, string) error{
		"models": models, "retry": models, "compressed": compressed, "generate": generate,
		"deadline": deadline, "cancel": cancel, "analyze": analyze, "bad_request": badRequest,
		"unknown": unknown, "health": health, "reflect": reflect,
	}
	args := append(os.Args[1:], "", "")
	verb, known := verbs[args[0]]
	if !known {
		fmt.Fprintln(os.Stderr, "usage: client VERB ADDRESS [ARGUMENT]")
		os.Exit(2)
	}
	options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	if args[0] == "retry" {
		config, err := os.ReadFile(args[2])
		if err != nil {
			fatal(err)
		}
		options = append(options, grpc.WithDefaultServiceConfig(string(config)))
	}
	conn, err := grpc.NewClient(args[1], options...)
	if err != nil {
		fatal(err)
	}
	defer conn.Close()
	ctx, stop := context.WithTimeout(context.Background(), 20*time.Second)
	defer stop()
	show(verb(ctx, conn, args[2]))
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// show prints how a call ended, with what its details say.
func show(err error) {
	s := status.Convert(err)
	fmt.Printf("code=%s\n", code.Code(s.Code()))
	for _, detail := range s.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			fmt.Printf("reason=%s\ndomain=%s\n", d.Reason, d.Domain)
		case *errdetails.RetryInfo:
			fmt.Printf("retry_ms=%d\n", d.RetryDelay.AsDuration().Milliseconds())
		case *errdetails.BadRequest:
			for _, v := range d.FieldViolations {
				fmt.Printf("field=%s: %s\n", v.Field, v.Description)
			}
		case *errdetails.QuotaFailure:
			for _, v := range d.Violations {
				fmt.Printf("quota=%s: %s\n", v.Subject, v.Description)
			}
		case *errdetails.ResourceInfo:
			fmt.Printf("resource=%s %s\n", d.ResourceType, d.ResourceName)
		default:
			fmt.Printf("unreadable=%v\n", detail)
		}
	}
}

func models(ctx context.Context, conn *grpc.ClientConn, _ string) error {
	return listModels(ctx, conn)
}

func compressed(ctx context.Context, conn *grpc.ClientConn, _ string) error {
	return listModels(ctx, conn, grpc.UseCompressor(gzip.Name))
}

func listModels(ctx context.Context, conn *grpc.ClientConn, options ...grpc.CallOption) error {
	reply, err := router.NewRouterServiceClient(conn).ListModels(ctx, &router.ListModelsRequest{}, options...)
	if err == nil {
		fmt.Printf("models=%d\nfirst=%s\n", len(reply.Models), reply.Models[0].Name)
	}
	return err
}

func generation() *router.Generation {
	return &router.Generation{
		ThinkingBudgetTokens: 1024,
		Messages: []*router.Message{{
			Role:    router.Role_ROLE_USER,
			Content: []*router.ContentBlock{{Block: &router.ContentBlock_Text{Text: text}}},
		}},
	}
}

func named(ctx context.Context, id string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "x-request-id", id)
}

// events collects the kinds of a stream's events, each run of one kind once.
type events []string

func (e *events) add(message proto.Message) string {
	m := message.ProtoReflect()
	field := m.WhichOneof(m.Descriptor().Oneofs().ByName("event"))
	kind := string(field.Name())
	if kind != "keep_alive" && kind != "queued" && (len(*e) == 0 || (*e)[len(*e)-1] != kind) {
		*e = append(*e, kind)
	}
	return kind
}

// follow reads a generation to its end; each is told the kind of every event.
func follow(ctx context.Context, conn *grpc.ClientConn, each func(kind string)) error {
	request := &router.GenerateRequest{Generation: generation()}
	stream, err := router.NewRouterServiceClient(conn).Generate(ctx, request)
	if err != nil {
		return err
	}
	var seen events
	for {
		event, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		each(seen.add(event))
		if done := event.GetCompleted(); done != nil {
			fmt.Printf("events=%s\nsimulated=%t\n", fmt.Sprint(seen), done.Metadata.Simulated)
		}
	}
}

func generate(ctx context.Context, conn *grpc.ClientConn, id string) error {
	return follow(named(ctx, id), conn, func(string) {})
}

func deadline(ctx context.Context, conn *grpc.ClientConn, id string) error {
	ctx, stop := context.WithTimeout(ctx, 600*time.Millisecond)
	defer stop()
	return follow(named(ctx, id), conn, func(string) {})
}

func cancel(ctx context.Context, conn *grpc.ClientConn, id string) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	return follow(named(ctx, id), conn, func(kind string) {
		if kind == "thinking_delta" {
			stop()
		}
	})
}

func analyze(ctx context.Context, conn *grpc.ClientConn, id string) error {
	stream, err := analyzer.NewAnalyzerServiceClient(conn).AnalyzeSection(named(ctx, id), &analyzer.AnalyzeSectionRequest{
		Section: &analyzer.Document{Source: &analyzer.Document_Content{Content: []byte(text)}},
	})
	if err != nil {
		return err
	}
	var seen events
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			fmt.Printf("events=%s\n", fmt.Sprint(seen))
			return nil
		}
		if err != nil {
			return err
		}
		seen.add(message.Event)
		if result := message.Event.GetSectionResult(); result != nil {
			fmt.Printf("outcome=%s\nlevel=%s\nfindings=%d\n", result.Outcome, result.RiskLevel, len(result.Findings))
		}
	}
}

func badRequest(ctx context.Context, conn *grpc.ClientConn, _ string) error {
	_, err := router.NewRouterServiceClient(conn).GenerateOnce(ctx, &router.GenerateOnceRequest{})
	return err
}

func unknown(ctx context.Context, conn *grpc.ClientConn, _ string) error {
	_, err := router.NewRouterServiceClient(conn).GetModel(ctx, &router.GetModelRequest{Name: "models/none"})
	return err
}

func health(ctx context.Context, conn *grpc.ClientConn, service string) error {
	reply, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
	if err == nil {
		fmt.Printf("health=%s\n", reply.Status)
	}
	return err
}

// reflect prints the services, and the methods of the router's own as its descriptor has them.
func reflect(ctx context.Context, conn *grpc.ClientConn, _ string) error {
	stream, err := grpc_reflection_v1.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
	if err != nil {
		return err
	}
	ask := func(request *grpc_reflection_v1.ServerReflectionRequest) (*grpc_reflection_v1.ServerReflectionResponse, error) {
		if err := stream.Send(request); err != nil {
			return nil, err
		}
		return stream.Recv()
	}
	reply, err := ask(&grpc_reflection_v1.ServerReflectionRequest{
		MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{},
	})
	if err != nil {
		return err
	}
	for _, service := range reply.GetListServicesResponse().GetService() {
		fmt.Printf("service=%s\n", service.Name)
	}
	reply, err = ask(&grpc_reflection_v1.ServerReflectionRequest{
		MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_FileContainingSymbol{
			FileContainingSymbol: "prism.router.v1.RouterService",
		},
	})
	if err != nil {
		return err
	}
	for _, bytes := range reply.GetFileDescriptorResponse().GetFileDescriptorProto() {
		var file descriptorpb.FileDescriptorProto
		if err := proto.Unmarshal(bytes, &file); err != nil {
			return err
		}
		services := file.GetService()
		if at := slices.IndexFunc(services, func(s *descriptorpb.ServiceDescriptorProto) bool {
			return s.GetName() == "RouterService"
		}); at >= 0 {
			for _, method := range services[at].GetMethod() {
				fmt.Printf("method=%s\n", method.GetName())
			}
		}
	}
	return stream.CloseSend()
}
