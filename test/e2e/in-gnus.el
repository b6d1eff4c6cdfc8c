;;; in-gnus.el --- The Emacs of the end-to-end test  -*- lexical-binding: t -*-

;;; Commentary:

;; Loaded by gnus.sh in an `emacs -Q', in batch or in a terminal.  It starts mailsync and a Gnus and
;; then does nothing but write down, one line a fact, what mailsync's and Gnus's hooks report; the
;; script delivers, reads that file and looks at the screen.  What the script wants done meanwhile
;; comes as a file of Lisp, so that no key is pressed.

;;; Code:

(require 'gnus)
(require 'gnus-group)
(require 'gnus-topic)
(load (expand-file-name "lib" (file-name-directory load-file-name)) nil t)

(defvar mailsync-gnus-check-method)
(defvar mailsync-gnus-idle-delay)
(defvar mailsync-gnus-max-wait)
(defvar mailsync-gnus-mode-line-groups)
(defvar mail-sources)
(defvar nnmail-split-methods)

(defun e2e-changed (account changes)
  "Write down what CHANGES of ACCOUNT say."
  (dolist (change changes)
    (e2e-say "changed" account (plist-get change :folder) (plist-get change :kinds))))

(defun e2e-new-mail (account changes)
  "Write down which groups of ACCOUNT have new mail by CHANGES."
  (dolist (change changes)
    (pcase-dolist (`(,group ,old ,new) (plist-get change :groups))
      (e2e-say "new-mail" account (plist-get change :folder) group old new
               (gnus-group-unread group) (string-trim (or (fixture-line group) "no line"))))))

(defun e2e-group (group)
  "Write down what Gnus has for GROUP."
  (e2e-say "group" group (gnus-group-unread group) (string-trim (or (fixture-line group) "no line"))))

(defun e2e-subscribe (group)
  "Subscribe GROUP, as a user does who sees a new folder."
  (gnus-subscribe-group group nil (gnus-group-method group))
  (gnus-group-get-new-news)
  (with-current-buffer gnus-group-buffer
    (gnus-group-list-groups 5 t))
  (e2e-group group))

(defun e2e-state ()
  "Write down what a user would notice if it changed by itself."
  (e2e-say "state" (buffer-name (window-buffer)) (buffer-name) (point)
           (length (window-list)) (minibuffer-depth) (or (current-message) "")))

(defun e2e-frames (group)
  "Show topics, with GROUP in one of its own, in two frames.
In one *Group* is in a dedicated window, which is not selected.  The
other one is selected."
  (setq gnus-topic-topology '(("Gnus" visible) (("lists" visible)))
        gnus-topic-alist
        (list (list "lists" group)
              (cons "Gnus" (delete group (mapcar #'car (cdr gnus-newsrc-alist)))))
        mailsync-gnus-mode-line-groups '("nnmaildir+fix:*"))
  (with-current-buffer gnus-group-buffer
    (gnus-topic-mode 1)
    (gnus-group-list-groups 5 t))
  (delete-other-windows)
  (switch-to-buffer gnus-group-buffer)
  (e2e-put-point group)
  (let ((other (split-window-below)))
    (set-window-dedicated-p (selected-window) t)
    (select-window other)
    (switch-to-buffer "in the other window"))
  (select-frame (make-frame))
  (delete-other-windows)
  (switch-to-buffer gnus-group-buffer)
  (gnus-topic-jump-to-topic "lists")
  (forward-char 3))

(defun e2e-put-point (group)
  "Put point into the line of GROUP."
  (gnus-group-jump-to-group group)
  (move-to-column 13))

(defun e2e-where ()
  "Write down where point is in the dedicated window and in the other frame.
And what else could change by itself."
  (let* ((window (cl-find-if #'window-dedicated-p
                             (get-buffer-window-list gnus-group-buffer nil t)))
         (place (lambda (window)
                  (with-current-buffer (window-buffer window)
                    (save-excursion
                      (goto-char (window-point window))
                      (list (or (get-text-property (line-beginning-position) 'gnus-group)
                                (get-text-property (line-beginning-position) 'gnus-topic))
                            (current-column)))))))
    (apply #'e2e-say "where"
           (append (funcall place window)
                   (list (buffer-name (window-buffer)) (window-dedicated-p window)
                         (length (frame-list)))
                   (funcall place (selected-window))
                   (list (length (window-list (window-frame window))))))))

(defun e2e-other-frame ()
  "Show the other frame."
  (other-frame 1))

(defun e2e-fold ()
  "Fold the topic of the group."
  (with-current-buffer gnus-group-buffer
    (save-excursion
      (gnus-topic-jump-to-topic "lists")
      (gnus-topic-hide-topic))))

(defvar e2e-longest 0 "The longest time between two ticks of `e2e-watch'.")

(defun e2e-watch ()
  "Watch for how long Emacs does not come round to a timer of 5 ms."
  (let ((last (float-time)))
    (run-with-timer 0.005 0.005
                    (lambda ()
                      (let ((now (float-time)))
                        (setq e2e-longest (max e2e-longest (- now last))
                              last now))))))

(defun e2e-start ()
  "Start mailsync and Gnus."
  (load (expand-file-name "gnus-init" (getenv "FIXTURES")) nil t)
  (unless (equal (getenv "E2E_SPLIT") "")
    (setq nnmail-split-methods (read (getenv "E2E_SPLIT"))
          mail-sources (append mail-sources
                               `((maildir :path ,(concat e2e-work "other"))))))
  (require 'mailsync)
  (setq mailsync-accounts `(("e2e" :maildir ,(concat e2e-work "mail")))
        mailsync-gnus-check-method (intern (getenv "E2E_METHOD"))
        mailsync-gnus-max-wait 2)
  (add-hook 'mailsync-changed-functions #'e2e-changed)
  (add-hook 'mailsync-new-mail-functions #'e2e-new-mail)
  (mailsync-mode 1)
  (let ((groups (split-string (getenv "E2E_GROUPS") "\n" t)))
    (apply #'fixture-start groups)
    (add-hook 'gnus-get-new-news-hook (lambda () (e2e-say "hook" "get-new-news")))
    (add-hook 'gnus-after-getting-new-news-hook (lambda () (e2e-say "hook" "after-getting-new-news")))
    (mapc #'e2e-group groups)))

(e2e-begin #'e2e-start)

(provide 'e2e)
;;; in-gnus.el ends here
