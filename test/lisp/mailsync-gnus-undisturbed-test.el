;;; mailsync-gnus-undisturbed-test.el --- Tests that the user is not disturbed  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; When a check may begin, and what the user is in the middle of meanwhile.

;;; Code:

(require 'mailsync-gnus-test-helper)

;;;; Without disturbing

(ert-deftest mailsync-gnus-test-places ()
  "Point stays where it was, in each window, and nothing is printed."
  (dolist (method '(parts command))
    (mailsync-gnus-test--with '(nnmaildir nnimap) '("folder000" "folder001")
      (let* ((mailsync-gnus-check-method method)
             (group (mailsync-gnus-test--group 'nnmaildir "folder000"))
             (other (mailsync-gnus-test--group 'nnimap "folder000"))
             (printed nil)
             (set-message-function (lambda (text) (push text printed) nil)))
        (cl-flet ((place (window)
                    (with-current-buffer gnus-group-buffer
                      (save-excursion
                        (goto-char (window-point window))
                        (list (get-text-property (line-beginning-position)
                                                 'gnus-group)
                              (current-column)))))
                  (put-place (window group column)
                    (set-window-point
                     window
                     (with-current-buffer gnus-group-buffer
                       (save-excursion
                         (gnus-group-goto-group group)
                         (move-to-column column)
                         (point))))))
          (save-window-excursion
            (delete-other-windows)
            (switch-to-buffer gnus-group-buffer)
            (let* ((one (selected-window))
                   (two (split-window))
                   (three (split-window)))
              (set-window-buffer three (get-buffer-create "*scratch*"))
              (dolist (selected (list one two three))
                (select-window selected)
                (put-place one group 13)
                (put-place two other 3)
                (let ((state (list (place one) (place two) (selected-window)
                                   (current-buffer) (window-point three)))
                      (before (list (fixture-unread group) (fixture-unread other))))
                  (should (equal (list (place one) (place two))
                                 `((,group 13) (,other 3))))
                  (mailsync-gnus-test--deliver "folder000")
                  (mailsync-gnus-test--check
                   (mailsync-gnus-test--change "folder000" 'new))
                  (should (equal (list (fixture-unread group) (fixture-unread other))
                                 (mapcar #'1+ before)))
                  (should (equal (list (place one) (place two) (selected-window)
                                       (current-buffer) (window-point three))
                                 state)))))))
        (should-not printed)))))

(ert-deftest mailsync-gnus-test-no-prompt ()
  "A check asks nothing: a question in it is an error."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (dolist (ask (list (lambda () (y-or-n-p "Really? "))
                       (lambda () (yes-or-no-p "Really? "))
                       (lambda () (read-string "Name: "))
                       (lambda () (read-passwd "Password: "))))
      (cl-letf (((symbol-function 'gnus-activate-group)
                 (lambda (&rest _) (funcall ask))))
        (should (equal (car (mailsync-gnus-test--check
                             (mailsync-gnus-test--change "folder000" 'new)))
                       '(("folder000" . failed))))
        (should (string-match-p
                 "inhibit\\|interaction"
                 (cdr (plist-get (mailsync-gnus-status) :last-error))))))))

(ert-deftest mailsync-gnus-test-wrong-options ()
  "A delay of a wrong type is said, by its name; mail is checked all the same."
  (dolist (backend '(nnmaildir nnimap))
    (mailsync-gnus-test--with (list backend) '("folder000")
      (dolist (wrong '(zz "1" nil -1 (1 . 2)))
        (let ((options '(mailsync-gnus-idle-delay
                         mailsync-gnus-max-wait mailsync-gnus-catch-up-delay
                         mailsync-gnus-imap-timeout mailsync-gnus-imap-open-timeout)))
          (setq mailsync-gnus-test--log nil)
          (cl-progv options (mapcar (lambda (_) wrong) options)
            (mailsync-gnus-test--deliver "folder000")
            (should (equal (car (mailsync-gnus-test--check
                                 (mailsync-gnus-test--change "folder000" 'new)))
                           '(("folder000" . checked)))))
          (let ((log (string-join mailsync-gnus-test--log "\n")))
            (should (string-search "mailsync-gnus-idle-delay" log))
            (should-not (string-search "Wrong type" log))))))))

(ert-deftest mailsync-gnus-test-when ()
  "A check waits for its moment."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (cl-macrolet ((refused (reason &rest bindings)
                    `(let ,bindings
                       (should (eq (mailsync-gnus--refusal) ',reason))))
                  (held-up (words &rest bindings)
                    `(let ,bindings
                       (should (equal (plist-get (mailsync-gnus-status) :held-up) ,words)))))
      (should-not (mailsync-gnus--refusal))
      (refused macro (executing-kbd-macro [?a]))
      (refused macro (defining-kbd-macro t))
      (let ((overriding-terminal-local-map (make-sparse-keymap)))
        (cl-letf (((symbol-function 'mailsync-gnus--idle)
                   (lambda () mailsync-gnus-max-wait)))
          (refused keymap))
        (cl-letf (((symbol-function 'mailsync-gnus--idle)
                   (lambda () (1+ mailsync-gnus-max-wait))))
          (should-not (mailsync-gnus--refusal))))
      (refused demon (gnus-inhibit-demon t))
      (refused running (mailsync-gnus--running t))
      (refused input (unread-command-events (list ?a)))
      (cl-letf (((symbol-function 'minibuffer-depth) (lambda () 1)))
        (refused minibuffer))
      (cl-letf (((symbol-function 'mailsync-gnus--idle) (lambda () nil)))
        (refused busy)
        (should-not (mailsync-gnus--refusal t)))
      (cl-letf (((symbol-function 'mailsync-gnus--idle) (lambda () 0.1)))
        (refused busy)
        (let ((mailsync-gnus-idle-delay 0.05))
          (should-not (mailsync-gnus--refusal))))
      ;; The status says what holds a check up, if it is more than that the user types.
      (held-up nil (gnus-inhibit-demon t))
      (puthash "work" t mailsync-gnus--pending)
      (held-up nil)
      (held-up "`gnus-inhibit-demon' is nil" (gnus-inhibit-demon t))
      (held-up "the keyboard macro is finished" (defining-kbd-macro t))
      (cl-letf (((symbol-function 'minibuffer-depth) (lambda () 1)))
        (held-up "the minibuffer is left"))
      ;; That the user types besides changes nothing about it.
      (held-up "`gnus-inhibit-demon' is nil" (gnus-inhibit-demon t)
               (unread-command-events (list ?a)))
      (held-up nil (unread-command-events (list ?a)))
      (clrhash mailsync-gnus--pending))))

(defun gnus-mailsync-test-wait (function)
  "A command of Gnus that waits until FUNCTION returns non-nil."
  (mailsync-gnus-test--wait-1 function 'gnus 1))

(ert-deftest mailsync-gnus-test-dirty-stack ()
  "While Gnus itself waits nothing is checked."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (let ((box (mailsync-gnus-test--send
                (mailsync-gnus-test--change "folder000" 'new))))
      (should-error (gnus-mailsync-test-wait (lambda () (car box)))
                    :type 'ert-test-failed)
      (should-not (car box))
      (mailsync-gnus-test--wait (car box))))
  ;; Interactively there is only one stack that is clean; this is none.
  (let ((seen 'none))
    (run-at-time 0 nil (lambda ()
                         (let ((noninteractive nil))
                           (setq seen (mailsync-gnus--clean-stack-p)))))
    (mailsync-gnus-test--wait (not (eq seen 'none)))
    (should-not seen)))

(ert-deftest mailsync-gnus-test-max-wait ()
  "A user who never pauses is served in small slices after a while."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000" "folder001" "INBOX")
    (let* ((mailsync-gnus-max-wait 0.4)
           (started (float-time))
           (hurries nil)
           (original (symbol-function 'mailsync-gnus--check-group))
           box)
      (cl-letf (((symbol-function 'mailsync-gnus--idle) (lambda () nil))
                ((symbol-function 'mailsync-gnus--check-group)
                 (lambda (&rest args)
                   (push mailsync-gnus--hurry hurries)
                   ;; One that takes its time.
                   (let ((end (+ (float-time) 0.02)))
                     (while (< (float-time) end)))
                   (apply original args))))
        (setq box (mailsync-gnus-test--send
                   (mailsync-gnus-test--change "folder000" 'new)
                   (mailsync-gnus-test--change "folder001" 'new)
                   (mailsync-gnus-test--change "INBOX" 'new)))
        (mailsync-gnus-test--wait (car box))
        (should (>= (- (float-time) started) 0.35))
        (should (equal hurries '(t t t)))
        ;; Each slice ended after one group.
        (should (>= (plist-get mailsync-gnus--counts :slices) 3))
        (should (equal (mapcar #'cdr (cadr box)) '(checked checked checked)))))))

(ert-deftest mailsync-gnus-test-garbage ()
  "While folders wait for the user to pause no garbage is collected."
  (let* ((gc-cons-threshold 800000)
         (before (default-toplevel-value 'gc-cons-threshold))
         (threshold (lambda () (default-toplevel-value 'gc-cons-threshold))))
    (unwind-protect
        (mailsync-gnus-test--with '(nnmaildir) '("folder000")
          (set-default-toplevel-value 'gc-cons-threshold 900000)
          (cl-letf (((symbol-function 'mailsync-gnus--idle) (lambda () 0.1)))
            (mailsync-gnus-test--send
             (mailsync-gnus-test--change "folder000" 'new))
            (mailsync-gnus-test--wait
             (eql (funcall threshold) mailsync-gnus--gc-threshold))
            (should (timerp mailsync-gnus--release-timer))
            (should-not mailsync-gnus--key-timer)
            ;; It is overdue: between keys.
            (let ((mailsync-gnus-max-wait 0))
              (mailsync-gnus--arm 'busy)
              (should (timerp mailsync-gnus--key-timer)))
            ;; The user pauses.
            (mailsync-gnus--release-garbage)
            (should (eql (funcall threshold) 900000))
            (should-not mailsync-gnus--release-timer)
            ;; What somebody else has set stays.
            (mailsync-gnus--arm 'busy)
            (should (eql (funcall threshold) mailsync-gnus--gc-threshold))
            (set-default-toplevel-value 'gc-cons-threshold 1000000)
            (mailsync-gnus--release-garbage)
            (should (eql (funcall threshold) 1000000))
            (mailsync-gnus--arm 'busy)
            (should (eql (funcall threshold) mailsync-gnus--gc-threshold)))
          (mailsync-gnus-teardown)
          (should (eql (funcall threshold) 1000000))
          (should-not mailsync-gnus--key-timer))
      (set-default-toplevel-value 'gc-cons-threshold before))))

(ert-deftest mailsync-gnus-test-server-is-back ()
  "A server that has failed is asked at once when it is known to be there again."
  (mailsync-gnus-test--with '(nnimap) '("folder000")
    (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'new))
    (let ((server (mailsync-gnus--imap-server
                   (gnus-find-method-for-group
                    (mailsync-gnus-test--group 'nnimap "folder000")))))
      (dotimes (_ 5)
        (mailsync-gnus--imap-failed server))
      (should (> (mailsync-gnus--imap-wait server) 60))
      (mailsync-gnus-server-is-back "home")
      (should (eql 0 (mailsync-gnus--imap-wait server)))
      (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'new)))))

(ert-deftest mailsync-gnus-test-quit ()
  "When the user quits a check the folder stays pending."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (let ((calls 0)
          (original (symbol-function 'gnus-activate-group))
          box)
      (cl-letf (((symbol-function 'gnus-activate-group)
                 (lambda (&rest args)
                   (if (= (cl-incf calls) 1)
                       ;; Gnus catches it just so.
                       (condition-case nil (signal 'quit nil) (quit nil))
                     (apply original args)))))
        (setq box (mailsync-gnus-test--send
                   (mailsync-gnus-test--change "folder000" 'new)))
        (mailsync-gnus-test--wait (= calls 1))
        (mailsync-gnus-test--wait mailsync-gnus--timer)
        (should-not (car box))
        (should (= 1 (plist-get (mailsync-gnus-status) :pending)))
        ;; Not at once.
        (accept-process-output nil 0.1)
        (should (= calls 1))
        (mailsync-gnus--step)
        (mailsync-gnus-test--wait (car box))
        (should (equal (cadr box) '(("folder000" . checked))))))))

;; What C-g can end though quitting is inhibited, when it is typed three times.
(ert-deftest mailsync-gnus-test-quit-in-the-middle ()
  "Whatever a quit leaves undone, the folder is checked and whoever asked is told once."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (let ((group (mailsync-gnus-test--group 'nnmaildir "folder000"))
          (item (lambda () (car (hash-table-values mailsync-gnus--pending)))))
      (pcase-dolist
          (`(,what . ,damage)
           `((nothing . ,#'ignore)
             (the-item . ,(lambda () (clrhash mailsync-gnus--pending)))
             (who-waits . ,(lambda () (setf (mailsync-gnus--item-calls (funcall item)) nil)))
             (the-answer . ,(lambda ()
                              (cl-decf (mailsync-gnus--call-left
                                        (car (mailsync-gnus--item-calls (funcall item)))))))
             (its-groups . ,(lambda () (setq mailsync-gnus--unmapped nil)))
             (its-claim . ,(lambda ()
                             (mailsync-gnus--find-groups)
                             (clrhash mailsync-gnus--claims)))
             (its-turn . ,(lambda ()
                            (mailsync-gnus--find-groups)
                            (setq mailsync-gnus--queue nil mailsync-gnus--queue-tail nil)))
             (the-next-one . ,(lambda ()
                                (puthash (mailsync-gnus--item-key (funcall item)) (funcall item)
                                         mailsync-gnus--next)
                                (clrhash mailsync-gnus--pending)))))
        (ert-info ((format "%s" what))
          (mailsync-gnus-test--deliver "folder000")
          (let ((before (fixture-unread group))
                (box (let ((gnus-inhibit-demon t))
                       (prog1 (mailsync-gnus-test--send
                               (mailsync-gnus-test--change "folder000" 'new))
                         (should (mailsync-gnus--whole-p))
                         (funcall damage)
                         (should (eq (mailsync-gnus--whole-p) (eq what 'nothing)))
                         (mailsync-gnus-go-on)
                         (should (mailsync-gnus--whole-p))))))
            (mailsync-gnus-test--wait (car box))
            (should (equal (cadr box) '(("folder000" . checked))))
            (should (= (fixture-unread group) (1+ before)))
            (mailsync-gnus-test--wait (= 0 (plist-get (mailsync-gnus-status) :pending)))
            (should (= 1 (car box)))
            (should (zerop (hash-table-count mailsync-gnus--calls)))))))))

(ert-deftest mailsync-gnus-test-anew-in-order ()
  "What begins anew is what came last: a folder that was made again is there."
  (let ((mailsync-gnus--pending (make-hash-table :test #'equal))
        (mailsync-gnus--next (make-hash-table :test #'equal))
        (mailsync-gnus--unmapped nil))
    (mailsync-gnus--add (mailsync-gnus-test--change "folder000" 'folder-deleted) nil)
    (setf (mailsync-gnus--item-begun (car (hash-table-values mailsync-gnus--pending))) t)
    (mailsync-gnus--add (mailsync-gnus-test--change "folder000" 'folder-created) nil)
    (should (= 1 (hash-table-count mailsync-gnus--next)))
    (should (= 2 (length (mailsync-gnus--add-anew))))
    (should (= 0 (hash-table-count mailsync-gnus--next)))
    (let* ((items (hash-table-values mailsync-gnus--pending))
           (kinds (plist-get (mailsync-gnus--item-change (car items)) :kinds)))
      (should (= 1 (length items)))
      (should (equal items mailsync-gnus--unmapped))
      (should (memq 'folder-created kinds))
      (should-not (memq 'folder-deleted kinds)))))

;;;; The user's own checks

(ert-deftest mailsync-gnus-test-check-now ()
  "`mailsync-gnus-check' has checked when it returns."
  (dolist (method '(parts command))
    (mailsync-gnus-test--with '(nnmaildir nnimap) '("folder000" "folder001")
      (let* ((mailsync-gnus-check-method method)
             (maildir (mailsync-gnus-test--group 'nnmaildir "folder000"))
             (imap (mailsync-gnus-test--group 'nnimap "folder000"))
             (before (fixture-unread imap)))
        (mailsync-gnus-test--deliver "folder000")
        (should (equal (mailsync-gnus-check maildir)
                       `((,maildir . checked))))
        (should (equal (list (fixture-unread maildir) (fixture-unread imap))
                       (list (1+ before) before)))
        (should (equal (reverse mailsync-gnus-test--hooks)
                       '(gnus-get-new-news-hook gnus-after-getting-new-news-hook)))
        (let ((results (mailsync-gnus-check)))
          (should (= (fixture-unread imap) (1+ before)))
          (should (equal (cdr (assoc imap results)) 'checked))
          (should (= 4 (cl-count 'checked results :key #'cdr))))
        (mailsync-gnus-test--deliver "folder000")
        (should (equal (let ((gnus-group-marked (list maildir)))
                         (call-interactively #'mailsync-gnus-check))
                       `((,maildir . checked))))
        (should (= (fixture-unread maildir) (+ 2 before)))
        (with-suppressed-warnings ((obsolete mailsync/gnus-check))
          (should (equal (mailsync/gnus-check (list "no:such" imap))
                         `(("no:such" . "unknown to Gnus")
                           (,imap . checked)))))
        (should (= (fixture-unread imap) (+ 2 before))))))
  (should-not (mailsync-gnus-check))
  (should-error (call-interactively #'mailsync-gnus-check) :type 'user-error))

(ert-deftest mailsync-gnus-test-check-now-while-asked ()
  "A check of the user's does not take the answer of one in the background."
  (mailsync-gnus-test--with '(nnimap) '("folder000" "folder001")
    (let* ((group (mailsync-gnus-test--group 'nnimap "folder001"))
           (before (fixture-unread group))
           (result nil)
           (box nil))
      (mailsync-gnus-test--when-asked
       (lambda ()
         (mailsync-gnus-test--deliver "folder001")
         ;; A hook of the user's may do this; it does not wait for us.
         (let ((mailsync-gnus--running nil))
           (setq result (mailsync-gnus-check group)))))
      (setq box (mailsync-gnus-test--send
                 (mailsync-gnus-test--change "folder000" 'new)))
      (mailsync-gnus-test--wait result)
      (should (equal result `((,group . checked))))
      (should (= (fixture-unread group) (1+ before)))
      (mailsync-gnus-test--wait (car box))
      (should (equal (cadr box) '(("folder000" . checked)))))))

;;;; A real command loop

(defmacro mailsync-gnus-test--with-terminal (&rest body)
  "Evaluate BODY with an interactive Emacs, fixtures/gnus-moments.el in it.
In BODY, (keys STRING) types, (tell FORM) has it evaluate FORM,
\(await LINE ...) waits until it has written down lines that begin
so, in this order, after those that were awaited before."
  (declare (indent 0))
  `(let* ((dir (make-temp-file "mailsync-moments" t))
          (facts (expand-file-name "facts" dir))
          (seen 0)
          (mailsync-gnus-test--log nil)
          (library (file-name-directory (locate-library "mailsync-gnus")))
          (process
           (let ((process-environment
                  (append (list (concat "MOMENTS_DIR=" dir) "TERM=vt100"
                                (concat "HOME=" dir))
                          process-environment)))
             (make-process
              :name "terminal" :connection-type 'pty :noquery t :buffer nil
              :filter #'ignore
              :command
              (list "sh" "-c" "stty rows 24 cols 80 raw -echo; exec \"$@\"" "sh"
                    (or (getenv "EMACS")
                        (expand-file-name invocation-name invocation-directory))
                    "-nw" "-Q" "-L" library
                    "-l" (mailsync-gnus-test--fixture "gnus-moments.el"))))))
     (unwind-protect
         (cl-labels
             ((lines () (if (file-exists-p facts)
                            (with-temp-buffer
                              (insert-file-contents facts)
                              (split-string (buffer-string) "\n" t))
                          nil))
              (keys (string) (process-send-string process string))
              (tell (form)
                (let ((file (expand-file-name "command" dir)))
                  (mailsync-gnus-test--wait (not (file-exists-p file)))
                  (write-region (prin1-to-string form) nil
                                (concat file ".tmp") nil 'silent)
                  (rename-file (concat file ".tmp") file)))
              (await (&rest wanted)
                (dolist (line wanted)
                  (mailsync-gnus-test--wait
                   (let* ((lines (setq mailsync-gnus-test--log (lines)))
                          (place (cl-position line (nthcdr seen lines)
                                              :test #'string-prefix-p)))
                     (and place (cl-incf seen (1+ place))))))))
           (ignore #'keys #'tell #'lines)
           ;; A key that comes before the command loop may be lost.
           (mailsync-gnus-test--wait
            (progn (keys "r")
                   (accept-process-output nil 0.1)
                   (member "ready" (lines)))
            20)
           (setq seen (length (lines)))
           ,@body)
       (delete-process process)
       (delete-directory dir t))))

(ert-deftest mailsync-gnus-test-terminal-idle ()
  "Work is done when the user is idle: in this idle period, or in the next."
  (mailsync-gnus-test--with-terminal
    (tell '(moments-begin))
    (await "worked idle")
    ;; While the user is busy only the idle timer can bring it about.
    (keys "abb")
    (await "worked idle")
    (should-not (member "worked hurry" (lines)))
    (tell '(moments-say "said" mailsync-gnus--idle-timer mailsync-gnus--timer))
    (await "said nil nil")))

(ert-deftest mailsync-gnus-test-terminal-minibuffer ()
  "While a question stands in the minibuffer nothing is done."
  (mailsync-gnus-test--with-terminal
    (keys "\ex")
    (mailsync-gnus-test--wait
     (progn (tell '(moments-say "said" (minibuffer-depth)))
            (member "said 1" (lines))))
    (tell '(moments-begin))
    (await "refused minibuffer")
    (tell '(setq moments-refused nil))
    (await "refused minibuffer")
    (should-not (cl-find-if (lambda (line) (string-prefix-p "worked" line))
                            (lines)))
    (keys "\C-g")
    (await "worked idle")))

(ert-deftest mailsync-gnus-test-terminal-waiting-command ()
  "While a command waits, for a server or for a key, nothing is done."
  (mailsync-gnus-test--with-terminal
    (dolist (key '("w" "s"))
      ;; The user need not be idle then, else the stack is not looked at.
      (tell '(progn (setq mailsync-gnus-max-wait 0) (moments-say "said set")))
      (await "said set")
      (keys (concat "\C-c" key))
      (await "refused stack")
      (tell '(setq moments-refused nil))
      (await "refused stack")
      (tell '(setq moments-go t))
      (await "said waited")
      (await "worked"))))

(ert-deftest mailsync-gnus-test-terminal-typing ()
  "A user who types without a pause is served, and loses no key."
  (mailsync-gnus-test--with-terminal
    (tell '(setq mailsync-gnus-max-wait 0.5))
    (tell '(moments-begin))
    (let ((typed "")
          (i 0))
      (mailsync-gnus-test--wait
       (let ((word (format "%d " (cl-incf i))))
         (keys word)
         (setq typed (concat typed word))
         (cl-find-if (lambda (line) (string-prefix-p "worked" line)) (lines))))
      (await "worked hurry")
      (mailsync-gnus-test--wait
       (progn
         (tell '(moments-say "said" (with-current-buffer "typing"
                                      (buffer-string))))
         (member (concat "said " typed) (lines)))))))

;;;; A user at random

(ert-deftest mailsync-gnus-test-user-nnmaildir ()
  (mailsync-gnus-test--user 'nnmaildir 20))

(ert-deftest mailsync-gnus-test-user-nnimap ()
  (mailsync-gnus-test--user 'nnimap 12))

(provide 'mailsync-gnus-undisturbed-test)
;;; mailsync-gnus-undisturbed-test.el ends here
