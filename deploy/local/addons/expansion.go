package main

import (
	"context"
	"encoding/json"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

const provisionedBy = "pv.kubernetes.io/provisioned-by"

// expandVolumes grants what a bound claim asks for beyond its volume's size.
// A directory has no size of its own, so only the two objects change, in the
// order that CSI's resizer keeps: the volume first, then the claim's status.
func expandVolumes(ctx context.Context, client kubernetes.Interface) {
	factory := informers.NewSharedInformerFactory(client, 0)
	claims := factory.Core().V1().PersistentVolumeClaims().Informer()
	expand := func(object any) {
		claim, isClaim := object.(*core.PersistentVolumeClaim)
		if !isClaim {
			return
		}
		if err := expandVolume(ctx, client, claim); err != nil {
			klog.ErrorS(err, "Volume was not expanded", "claim", klog.KObj(claim))
		}
	}
	if _, err := claims.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    expand,
		UpdateFunc: func(_, changed any) { expand(changed) },
	}); err != nil {
		klog.ErrorS(err, "Volumes will not be expanded")
		return
	}
	factory.Start(ctx.Done())
}

func expandVolume(ctx context.Context, client kubernetes.Interface, claim *core.PersistentVolumeClaim) error {
	wanted := claim.Spec.Resources.Requests[core.ResourceStorage]
	has := claim.Status.Capacity[core.ResourceStorage]
	if claim.Status.Phase != core.ClaimBound || wanted.Cmp(has) <= 0 {
		return nil
	}
	volume, err := client.CoreV1().PersistentVolumes().Get(ctx, claim.Spec.VolumeName, meta.GetOptions{})
	if err != nil {
		return err
	}
	if volume.Annotations[provisionedBy] != provisionerName {
		return nil
	}
	if err := patchVolume(ctx, client, volume.Name, wanted); err != nil {
		return err
	}
	return patchClaim(ctx, client, claim, wanted)
}

func patchVolume(ctx context.Context, client kubernetes.Interface, name string, size resource.Quantity) error {
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"capacity": map[string]any{"storage": size}}})
	if err != nil {
		return err
	}
	_, err = client.CoreV1().PersistentVolumes().Patch(ctx, name, types.MergePatchType, patch, meta.PatchOptions{})
	return err
}

func patchClaim(ctx context.Context, client kubernetes.Interface, claim *core.PersistentVolumeClaim, size resource.Quantity) error {
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"capacity": map[string]any{"storage": size}}})
	if err != nil {
		return err
	}
	_, err = client.CoreV1().PersistentVolumeClaims(claim.Namespace).Patch(ctx, claim.Name, types.MergePatchType, patch, meta.PatchOptions{}, "status")
	return err
}
