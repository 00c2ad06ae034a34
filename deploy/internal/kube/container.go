package kube

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// prepare makes the container's process ready to start: the image's files and the volumes' in a root of its own, its user, its environment. reason is the
// kubelet's name for the error.
func (p *pod) prepare(ctx context.Context) (cmd *exec.Cmd, reason string, err error) {
	if len(p.object.Spec.Containers) != 1 || len(p.object.Spec.InitContainers) != 0 {
		return nil, "RunContainerError", errors.New("only pods with one container can be run")
	}
	root, program := p.nodes.image(p.container().Image)
	if root == "" {
		return nil, "ImagePullBackOff", fmt.Errorf("%s: not found", p.container().Image)
	}
	environ, err := p.environ(ctx)
	if err != nil {
		return nil, "CreateContainerConfigError", err
	}
	if err := p.unpack(ctx, root); err != nil {
		return nil, "ContainerCannotRun", err
	}
	cmd = command("/"+program, p.container().Args...)
	cmd.Env, cmd.Dir = environ, "/"
	user := p.user()
	if user == 0 {
		return nil, "CreateContainerConfigError", errors.New("container would run as root")
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: p.dir, Credential: &syscall.Credential{Uid: user, Gid: user}}
	return cmd, "", nil
}

// user is whom the container runs as; 0 if its pod does not say.
func (p *pod) user() uint32 {
	if s := p.container().SecurityContext; s != nil && s.RunAsUser != nil {
		return uint32(*s.RunAsUser) //nolint:gosec // the API server has checked it
	}
	if s := p.object.Spec.SecurityContext; s != nil && s.RunAsUser != nil {
		return uint32(*s.RunAsUser) //nolint:gosec // the API server has checked it
	}
	return 0
}

// environ reads what is in Secrets and ConfigMaps. A port of its own to listen at becomes one at the pod's address, there being no network for each pod.
func (p *pod) environ(ctx context.Context) ([]string, error) {
	var list []string
	for _, v := range p.container().Env {
		value := v.Value
		if from := v.ValueFrom; from != nil {
			var err error
			switch {
			case from.SecretKeyRef != nil:
				value, err = p.secret(ctx, from.SecretKeyRef.Name, from.SecretKeyRef.Key)
			case from.ConfigMapKeyRef != nil:
				value, err = p.configMap(ctx, from.ConfigMapKeyRef.Name, from.ConfigMapKeyRef.Key)
			default:
				err = fmt.Errorf("variable %s: only Secrets and ConfigMaps are read", v.Name)
			}
			if err != nil {
				return nil, err
			}
		}
		for _, port := range p.container().Ports {
			if value == ":"+strconv.Itoa(int(port.ContainerPort)) {
				value = Reach(p.ip) + value
			}
		}
		list = append(list, v.Name+"="+value)
	}
	return list, nil
}

func (p *pod) secret(ctx context.Context, name, key string) (string, error) {
	s, err := p.nodes.client.CoreV1().Secrets(p.object.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	value, ok := s.Data[key]
	if !ok {
		return "", fmt.Errorf("couldn't find key %s in Secret %s/%s", key, p.object.Namespace, name)
	}
	return string(value), nil
}

func (p *pod) configMap(ctx context.Context, name, key string) (string, error) {
	c, err := p.nodes.client.CoreV1().ConfigMaps(p.object.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	value, ok := c.Data[key]
	if !ok {
		return "", fmt.Errorf("couldn't find key %s in ConfigMap %s/%s", key, p.object.Namespace, name)
	}
	return value, nil
}

// unpack makes the root of the container, which nobody but root may write to.
func (p *pod) unpack(ctx context.Context, image string) error {
	if err := os.RemoveAll(p.dir); err != nil {
		return err
	}
	err := filepath.WalkDir(image, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		into := filepath.Join(p.dir, strings.TrimPrefix(path, image))
		if entry.IsDir() {
			return os.Mkdir(into, 0o755) //nolint:gosec // as in an image
		}
		return os.Link(path, into) //nolint:gosec // nobody else writes to the image
	})
	if err != nil {
		return err
	}
	if err := p.write("/etc/hosts", p.nodes.hosts()); err != nil {
		return err
	}
	for _, mount := range p.container().VolumeMounts {
		files, err := p.volume(ctx, mount.Name)
		if err != nil {
			return err
		}
		for name, text := range files {
			if err := p.write(filepath.Join(mount.MountPath, name), text); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *pod) write(path, text string) error {
	path = filepath.Join(p.dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // as in an image
		return err
	}
	return os.WriteFile(path, []byte(text), 0o444) //nolint:gosec // the container's user is another one
}

// volume gives the files of a volume that is a ConfigMap.
func (p *pod) volume(ctx context.Context, name string) (map[string]string, error) {
	for _, v := range p.object.Spec.Volumes {
		if v.Name == name && v.ConfigMap != nil {
			c, err := p.nodes.client.CoreV1().ConfigMaps(p.object.Namespace).Get(ctx, v.ConfigMap.Name, metav1.GetOptions{})
			if err != nil {
				return nil, err
			}
			return c.Data, nil
		}
	}
	return nil, fmt.Errorf("volume %s: only ConfigMaps are mounted", name)
}
